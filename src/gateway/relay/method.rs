//! The methods that MCP has for clients and servers, legacy and modern. Nothing else in the gateway spells them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

macro_rules! methods {
    ($($name:ident = $method:literal,)*) => {
        $(#[doc = concat!("`", $method, "`")] pub(crate) const $name: &str = $method;)*
        /// All of them.
        pub(super) const ALL: &[&str] = &[$($name),*];

        /// The method of MCP that has this name.
        fn known(name: &str) -> Option<&'static str> {
            match name {
                $($method => Some($method),)*
                _ => None,
            }
        }
    };
}

/// A method's name. Those of MCP take no memory of their own, however often they are copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Method(Cow<'static, str>);

impl Method {
    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Method {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Method {
    fn from(name: &str) -> Self {
        Self(known(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed))
    }
}

impl PartialEq<str> for Method {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Method {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

methods! {
    TOOLS_CALL = "tools/call",
    TOOLS_LIST = "tools/list",
    PROMPTS_GET = "prompts/get",
    PROMPTS_LIST = "prompts/list",
    RESOURCES_READ = "resources/read",
    RESOURCES_LIST = "resources/list",
    TEMPLATES_LIST = "resources/templates/list",
    DIRECTORY_READ = "resources/directory/read",
    SKILLS_LIST = "skills/list",
    SKILLS_GET = "skills/get",
    SUBSCRIBE = "resources/subscribe",
    UNSUBSCRIBE = "resources/unsubscribe",
    COMPLETE = "completion/complete",
    SET_LOG_LEVEL = "logging/setLevel",
    INITIALIZE = "initialize",
    PING = "ping",
    DISCOVER = "server/discover",
    LISTEN = "subscriptions/listen",
    TASKS_GET = "tasks/get",
    TASKS_LIST = "tasks/list",
    TASKS_RESULT = "tasks/result",
    TASKS_CANCEL = "tasks/cancel",
    TASKS_UPDATE = "tasks/update",
    SAMPLE = "sampling/createMessage",
    ELICIT = "elicitation/create",
    ROOTS_LIST = "roots/list",
    INITIALIZED = "notifications/initialized",
    CANCELLED = "notifications/cancelled",
    PROGRESS = "notifications/progress",
    LOG_MESSAGE = "notifications/message",
    ROOTS_CHANGED = "notifications/roots/list_changed",
    TOOLS_CHANGED = "notifications/tools/list_changed",
    PROMPTS_CHANGED = "notifications/prompts/list_changed",
    RESOURCES_CHANGED = "notifications/resources/list_changed",
    RESOURCE_UPDATED = "notifications/resources/updated",
    ELICITATION_COMPLETE = "notifications/elicitation/complete",
    TASK = "notifications/tasks",
    TASK_STATUS = "notifications/tasks/status",
    TASKS_CHANGED = "notifications/tasks/list_changed",
    ACKNOWLEDGED = "notifications/subscriptions/acknowledged",
    SUBSCRIPTION_ENDED = "notifications/subscriptions/ended",
}

/// Whether a method is a notification of MCP; one that is not may be an extension's.
pub(crate) fn is_notification(method: &str) -> bool {
    ALL.contains(&method) && method.starts_with("notifications/")
}

/// Whether a method of MCP wants an answer, so that it is never a notification. Some servers carry such a one out.
pub(crate) fn wants_answer(method: &str) -> bool {
    ALL.contains(&method) && !method.starts_with("notifications/")
}
