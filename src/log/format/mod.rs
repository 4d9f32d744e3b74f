//! How records are written: straight into a buffer, without a value in between.
//!
//! | file | owns |
//! |---|---|
//! | `escape` | what may not stand in a line as it is |
//! | `style` | the formats there are |
//! | `fields` | one field in each format, and the visitor of tracing |
//! | `stamp` | the time |
//! | `record` | the whole line |
//!
//! Invariant: a record is one line, whatever its text holds; only the journal's has one for each line of a message, each
//! with its priority, and the form of fields one for each field. Colours and other control characters of a message are escaped, so that nobody who is logged can
//! paint on the terminal of a reader or forge a record.

mod escape;
mod fields;
mod record;
mod stamp;
mod style;

pub(super) use fields::RecordedFields;
pub(super) use record::Context;
pub(super) use style::Style;
