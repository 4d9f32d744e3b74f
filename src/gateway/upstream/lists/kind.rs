//! The kinds of lists that MCP servers have, and what the protocol calls them.

use crate::config::{Filters, Selection};
use crate::gateway::changes::LISTS;
use crate::gateway::relay::{Part, method};

/// How many kinds there are.
pub(crate) const KINDS: usize = 5;

/// The lists that MCP servers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
    /// `skills/list` of the extension (SEP-2640).
    Skills,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; KINDS] =
        [Self::Tools, Self::Prompts, Self::Resources, Self::Templates, Self::Skills];

    /// The kind that a method lists.
    pub(crate) fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The method that lists this kind.
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Tools => method::TOOLS_LIST,
            Self::Prompts => method::PROMPTS_LIST,
            Self::Resources => method::RESOURCES_LIST,
            Self::Templates => method::TEMPLATES_LIST,
            Self::Skills => method::SKILLS_LIST,
        }
    }

    /// The member of the result that holds the items.
    pub(crate) const fn items(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Skills => "skills",
        }
    }

    /// The member of an item that names it.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources | Self::Skills => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// What its items must be like.
    pub(crate) const fn part(self) -> Part {
        match self {
            Self::Tools => Part::Tool,
            Self::Prompts => Part::Prompt,
            Self::Resources => Part::Resource,
            Self::Templates => Part::Template,
            Self::Skills => Part::Skill,
        }
    }

    /// What of this kind is shown.
    pub(crate) const fn selection(self, filters: &Filters) -> &Selection {
        match self {
            Self::Tools => &filters.tools,
            Self::Prompts => &filters.prompts,
            Self::Resources | Self::Templates | Self::Skills => &filters.resources,
        }
    }

    /// The server capability that goes with it. A server with skills has resources, of which they are made.
    pub(crate) const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates | Self::Skills => "resources",
        }
    }

    /// The notification that says that the list has changed. Skills have none of their own.
    pub(crate) const fn change(self) -> &'static str {
        match self {
            Self::Tools => LISTS[0],
            Self::Prompts => LISTS[1],
            Self::Resources | Self::Templates | Self::Skills => LISTS[2],
        }
    }

    /// Its bit in a set.
    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The kinds that a list-changed notification makes stale.
    pub(crate) fn changed(method: &str) -> &'static [Self] {
        match method {
            method::TOOLS_CHANGED => &[Self::Tools],
            method::PROMPTS_CHANGED => &[Self::Prompts],
            method::RESOURCES_CHANGED => &[Self::Resources, Self::Templates, Self::Skills],
            _ => &[],
        }
    }
}
