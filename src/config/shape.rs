//! The file as serde reads it: every value still text, and with its place.
//!
//! The schema has been checked before, so reading into this shape fails only where the table of keys and the shape
//! disagree; a test holds them together. Nothing here derives `Debug`, because values may be secrets.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_spanned::Spanned;

/// A string with its place.
pub(super) type Text = Spanned<String>;
/// A whole number with its place.
pub(super) type Number = Spanned<i64>;
/// A list of strings, each with its place.
pub(super) type List = Spanned<Vec<Text>>;
/// A table of strings, names and values with their places.
pub(super) type Map = IndexMap<Text, Text>;

/// A whole file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// `[server]`.
    pub(super) server: Server,
    /// `[log]`.
    pub(super) log: Log,
    /// `[upstreams.NAME]`.
    pub(super) upstreams: IndexMap<Text, Upstream>,
}

/// `[server]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct Server {
    /// Listener addresses.
    pub(super) listen: Option<List>,
    /// A user's name.
    pub(super) user: Option<Text>,
    /// A group's name.
    pub(super) group: Option<Text>,
    /// `none`, or absent.
    pub(super) auth: Option<Text>,
    /// `auto`, `always` or `never`.
    pub(super) prefix: Option<Text>,
    /// Accepted Host values.
    pub(super) allowed_hosts: Option<List>,
    /// Accepted Origin values.
    pub(super) allowed_origins: Option<List>,
    /// A duration.
    pub(super) drain_timeout: Option<Text>,
    /// A duration.
    pub(super) session_timeout: Option<Text>,
    /// A number.
    pub(super) max_connections: Option<Number>,
    /// A number.
    pub(super) max_sessions: Option<Number>,
    /// A number.
    pub(super) max_sessions_per_client: Option<Number>,
    /// A duration.
    pub(super) client_timeout: Option<Text>,
    /// A size.
    pub(super) max_message_size: Option<Text>,
    /// `local`, `all` or `off`.
    pub(super) metrics: Option<Text>,
}

/// `[log]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct Log {
    /// Filter directives.
    pub(super) level: Option<Text>,
    /// An absolute path.
    pub(super) file: Option<Text>,
    /// `json`, `text` or `logfmt`.
    pub(super) format: Option<Text>,
    /// `flat` or `nested`.
    pub(super) spans: Option<Text>,
    /// A name.
    pub(super) instance: Option<Text>,
    /// Filter directives.
    pub(super) console_level: Option<Text>,
    /// `auto`, `text`, `json` or `logfmt`.
    pub(super) console_format: Option<Text>,
    /// A size.
    pub(super) queue: Option<Text>,
    /// `block` or `drop`.
    pub(super) overflow: Option<Text>,
    /// `drop` or `stop`.
    pub(super) on_full: Option<Text>,
    /// `never`, `rotate` or `1s`.
    pub(super) fsync: Option<Text>,
    /// `own` or `external`.
    pub(super) rotate: Option<Text>,
    /// A size, or `never`.
    pub(super) rotate_size: Option<Text>,
    /// `never`, `hourly`, `daily` or `weekly`.
    pub(super) rotate_every: Option<Text>,
    /// A time of the day, or of the week.
    pub(super) rotate_at: Option<Text>,
    /// `local` or `utc`.
    pub(super) rotate_zone: Option<Text>,
    /// `gzip` or `none`.
    pub(super) compress: Option<Text>,
    /// 1 to 9.
    pub(super) compress_level: Option<Number>,
    /// A number of files.
    pub(super) keep_files: Option<Number>,
    /// A duration.
    pub(super) keep_age: Option<Text>,
    /// A size.
    pub(super) keep_size: Option<Text>,
}

/// `[upstreams.NAME]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct Upstream {
    /// Whether it is started.
    pub(super) enabled: Option<Spanned<bool>>,
    /// A program.
    pub(super) command: Option<Text>,
    /// Its arguments.
    pub(super) args: Option<List>,
    /// Its environment.
    pub(super) env: Option<Spanned<Map>>,
    /// An absolute path.
    pub(super) working_dir: Option<Text>,
    /// An endpoint.
    pub(super) url: Option<Text>,
    /// Its headers.
    pub(super) headers: Option<Spanned<Map>>,
    /// A duration.
    pub(super) start_timeout: Option<Text>,
    /// A duration.
    pub(super) request_timeout: Option<Text>,
    /// `auto`, `shared` or `per-session`.
    pub(super) sharing: Option<Text>,
    /// Endpoints.
    pub(super) urls: Option<List>,
    /// An absolute path.
    pub(super) ca_file: Option<Text>,
    /// Which tools are shown.
    pub(super) tools: Option<Spanned<Selection>>,
    /// Which prompts are shown.
    pub(super) prompts: Option<Spanned<Selection>>,
    /// Which resources are shown.
    pub(super) resources: Option<Spanned<Selection>>,
    /// Requests at once.
    pub(super) max_concurrency: Option<Number>,
    /// Requests that wait.
    pub(super) max_queue: Option<Number>,
    /// `eager` or `lazy`.
    pub(super) start: Option<Text>,
    /// A duration.
    pub(super) idle_timeout: Option<Text>,
    /// A duration.
    pub(super) health_interval: Option<Text>,
    /// A user's name.
    pub(super) user: Option<Text>,
    /// A size.
    pub(super) memory_max: Option<Text>,
    /// A number.
    pub(super) tasks_max: Option<Number>,
    /// A number.
    pub(super) open_files_max: Option<Number>,
}

/// `tools`, `prompts` or `resources` of an upstream.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct Selection {
    /// Patterns.
    pub(super) allow: Option<List>,
    /// Patterns.
    pub(super) deny: Option<List>,
    /// Names.
    pub(super) rename: Option<Spanned<Map>>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::reference::Table;
    use super::*;

    /// The names of the fields that serde knows.
    fn fields(shape: &impl serde::Serialize) -> BTreeSet<String> {
        serde_json::to_value(shape).unwrap().as_object().unwrap().keys().cloned().collect()
    }

    /// The names of the keys in the table.
    fn keys(table: Table) -> BTreeSet<String> {
        table.keys().map(|key| key.name.to_owned()).collect()
    }

    #[test]
    fn the_table_of_keys_and_the_serde_shape_name_the_same_keys() {
        assert_eq!(fields(&Server::default()), keys(Table::Server));
        assert_eq!(fields(&Log::default()), keys(Table::Log));
        assert_eq!(fields(&Upstream::default()), keys(Table::Upstream));
    }

    #[test]
    fn every_example_of_the_table_is_read_by_the_shape() {
        for table in Table::ALL {
            let lines = table.keys().map(|key| format!("{} = {}\n", key.name, key.example));
            let text = format!("[{}]\n{}", table.header(), lines.collect::<String>());
            assert_eq!(toml::from_str::<File>(&text).err().map(|error| error.to_string()), None);
        }
    }
}
