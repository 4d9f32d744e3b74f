//! The shapes of what the gateway puts together from the answers of several servers, as the schemas of the specification
//! have them: capabilities, and the items of merged lists.
//!
//! One table serves all revisions: members that an older one does not have are allowed there. Only the schema of a
//! tool's result differs between the eras.

use super::mend::{Field, Shape};
use super::meta::Era;

/// The roles of a conversation.
const ROLES: &[&str] = &["user", "assistant"];

/// Members of anything, kept as they are.
const META: Field = Field::optional("_meta", Shape::Object(&[]));

/// Pictures of an item.
const ICONS: Field = Field::optional(
    "icons",
    Shape::List(&Shape::Object(&[
        Field::required("src", Shape::Text),
        Field::optional("mimeType", Shape::Text),
        Field::optional("sizes", Shape::List(&Shape::Text)),
        Field::optional("theme", Shape::OneOf(&["light", "dark"])),
    ])),
);

/// Whom a resource is for.
const ANNOTATIONS: Field = Field::optional(
    "annotations",
    Shape::Object(&[
        Field::optional("audience", Shape::List(&Shape::OneOf(ROLES))),
        Field::optional("priority", Shape::Share),
        Field::optional("lastModified", Shape::Text),
    ]),
);

/// How a tool behaves.
const HINTS: Field = Field::optional(
    "annotations",
    Shape::Object(&[
        Field::optional("title", Shape::Text),
        Field::optional("readOnlyHint", Shape::Flag),
        Field::optional("destructiveHint", Shape::Flag),
        Field::optional("idempotentHint", Shape::Flag),
        Field::optional("openWorldHint", Shape::Flag),
    ]),
);

/// A schema whose values are objects, as those of arguments are.
const SCHEMA: &[Field] = &[
    Field::meaning("type", Shape::ObjectType, r#""object""#),
    Field::optional("properties", Shape::Schemas),
    Field::optional("required", Shape::List(&Shape::Text)),
    Field::optional("$schema", Shape::Text),
];

/// A tool that takes no arguments that anybody knows of.
const NO_ARGUMENTS: &str = r#"{"type":"object"}"#;

/// A title.
const TITLE: Field = Field::optional("title", Shape::Text);
/// A description.
const DESCRIPTION: Field = Field::optional("description", Shape::Text);

/// A tool, with the schema of its result.
macro_rules! tool {
    ($output:expr) => {
        Shape::Object(&[
            Field::required("name", Shape::Text),
            TITLE,
            DESCRIPTION,
            Field::meaning("inputSchema", Shape::Object(SCHEMA), NO_ARGUMENTS),
            Field::optional("outputSchema", $output),
            HINTS,
            ICONS,
            Field::optional(
                "execution",
                Shape::Object(&[Field::optional(
                    "taskSupport",
                    Shape::OneOf(&["forbidden", "optional", "required"]),
                )]),
            ),
            META,
        ])
    };
}

/// A tool of the legacy era.
const LEGACY_TOOL: Shape = tool!(Shape::LegacyOutput(SCHEMA));
/// A tool of the modern era, whose results may be anything.
const MODERN_TOOL: Shape = tool!(Shape::Object(&[Field::optional("$schema", Shape::Text)]));

/// A prompt.
const PROMPT: Shape = Shape::Object(&[
    Field::required("name", Shape::Text),
    TITLE,
    DESCRIPTION,
    Field::optional(
        "arguments",
        Shape::List(&Shape::Object(&[
            Field::required("name", Shape::Text),
            TITLE,
            DESCRIPTION,
            Field::optional("required", Shape::Flag),
        ])),
    ),
    ICONS,
    META,
]);

/// A resource.
const RESOURCE: Shape = Shape::Object(&[
    Field::required("uri", Shape::Address),
    Field::otherwise("name", Shape::Text, &["title", "uri"]),
    TITLE,
    DESCRIPTION,
    Field::optional("mimeType", Shape::Text),
    Field::optional("size", Shape::Integer),
    ANNOTATIONS,
    ICONS,
    META,
]);

/// A template of resources.
const TEMPLATE: Shape = Shape::Object(&[
    Field::required("uriTemplate", Shape::Text),
    Field::otherwise("name", Shape::Text, &["title", "uriTemplate"]),
    TITLE,
    DESCRIPTION,
    Field::optional("mimeType", Shape::Text),
    ANNOTATIONS,
    ICONS,
    META,
]);

/// A skill (SEP-2640). What its author wrote of it is told as it is.
const SKILL: Shape = Shape::Object(&[
    Field::required("uri", Shape::Address),
    Field::required(
        "frontmatter",
        Shape::Object(&[Field::required("name", Shape::Text), Field::required("description", Shape::Text)]),
    ),
]);

/// A task of the legacy era. Servers of its first drafts tell less of it than they must: the client's own task is worth more
/// than the members that are missing.
const TASK: Shape = Shape::Object(&[
    Field::required("taskId", Shape::Text),
    Field::required(
        "status",
        Shape::OneOf(&["working", "input_required", "completed", "failed", "cancelled"]),
    ),
    Field::optional("statusMessage", Shape::Text),
    Field::optional("createdAt", Shape::Text),
    Field::optional("lastUpdatedAt", Shape::Text),
    Field::optional("ttl", Shape::Limit),
    Field::optional("pollInterval", Shape::Integer),
]);

/// Whether a server tells of changes of a list.
const LIST_CHANGED: Field = Field::optional("listChanged", Shape::Flag);

/// What a server can do.
const CAPABILITIES: Shape = Shape::Ability(&[
    Field::optional("tools", Shape::Ability(&[LIST_CHANGED])),
    Field::optional("prompts", Shape::Ability(&[LIST_CHANGED])),
    Field::optional("resources", Shape::Ability(&[LIST_CHANGED, Field::optional("subscribe", Shape::Flag)])),
    Field::optional("logging", Shape::Ability(&[])),
    Field::optional("completions", Shape::Ability(&[])),
    Field::optional(
        "tasks",
        Shape::Ability(&[
            Field::optional("list", Shape::Ability(&[])),
            Field::optional("cancel", Shape::Ability(&[])),
            Field::optional(
                "requests",
                Shape::Ability(&[Field::optional(
                    "tools",
                    Shape::Ability(&[Field::optional("call", Shape::Ability(&[]))]),
                )]),
            ),
        ]),
    ),
    Field::optional("experimental", Shape::Abilities),
    Field::optional("extensions", Shape::Abilities),
]);

/// What is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What a server can do.
    Capabilities,
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A template of resources.
    Template,
    /// A skill.
    Skill,
    /// A task.
    Task,
}

impl Part {
    /// Its shape in an era.
    pub(crate) const fn shape(self, era: Era) -> &'static Shape {
        match (self, era) {
            (Self::Capabilities, _) => &CAPABILITIES,
            (Self::Tool, Era::Legacy) => &LEGACY_TOOL,
            (Self::Tool, Era::Modern) => &MODERN_TOOL,
            (Self::Prompt, _) => &PROMPT,
            (Self::Resource, _) => &RESOURCE,
            (Self::Template, _) => &TEMPLATE,
            (Self::Skill, _) => &SKILL,
            (Self::Task, _) => &TASK,
        }
    }
}
