//! Tasks that must not be missing: their owner learns of a panic, and begins them again.
//!
//! A panic is a bug, and it is logged as one. What must not happen is that a bug in one place leaves an upstream in its
//! last state for ever, with nobody there to change it.

use std::any::Any;

use tokio::task::JoinError;

/// Runs something as a task of its own, to its end; the error is what its panic said.
pub(crate) async fn catch_panic<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    tokio::spawn(task).await.map_err(said)
}

/// What a panic said.
fn said(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => text(&*panic),
        Err(error) => error.to_string(),
    }
}

/// The text that a panic carries, if it carries one.
fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_is_survived_and_says_what_it_said() {
        let name = "time";
        assert_eq!(
            catch_panic(async move { panic!("upstream {name}") }).await,
            Err::<(), _>("upstream time".into())
        );
        assert_eq!(catch_panic(async { panic!("a literal") }).await, Err::<(), _>("a literal".into()));
        let other = async { std::panic::panic_any(7) };
        assert_eq!(catch_panic(other).await, Err::<(), _>("a panic without a text".into()));
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
    }
}
