use tokio::task::JoinHandle;

#[cfg(doc)]
use crate::{Deadline, Priority};
use crate::{call::Carried, correlation::Correlation};

/// Spawns `work` as tokio does, and carries on what belongs to the work in hand: its [`Deadline`], its [`Priority`], with
/// feature `otel` its OpenTelemetry context, and with feature `logs` the id of its request, so that calls made in the new task
/// end in time, stand in the same trace and are found in the log.
///
/// It *tells* the new task how long there is, and does not end it: what ends by a deadline are the calls that it makes.
/// Work that is to outlive its caller belongs into `tokio::spawn`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use moneta_resilience::{Deadline, spawn};
///
/// let handler = async {
///     let part = spawn(async { Deadline::current().is_some() });
///     part.await.expect("it does not panic")
/// };
/// assert!(Deadline::after(Duration::from_secs(1)).scope(handler).await);
/// # }
/// ```
///
/// # Panics
///
/// Outside of a tokio runtime.
#[track_caller]
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
    F::Output: 'static,
{
    #[cfg(feature = "otel")]
    let work = opentelemetry::context::FutureExt::with_current_context(work);
    tokio::spawn(Correlation::current().scope(Carried::current().scope(work)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Deadline, Priority};

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_spawned_task_has_the_deadline_of_the_work_in_hand_and_none_outside_of_any() {
        let left =
            || async { spawn(async { Deadline::current().map(Deadline::remaining) }).await.ok().flatten() };
        assert_eq!(Deadline::after(LIMIT).scope(left()).await, Some(LIMIT));
        assert_eq!(left().await, None);
    }

    #[tokio::test]
    async fn a_spawned_task_has_the_priority_of_the_work_in_hand() {
        let priority = || async { spawn(async { Priority::current() }).await.ok() };
        assert_eq!(Priority::Sheddable.scope(priority()).await, Some(Priority::Sheddable));
        assert_eq!(priority().await, Some(Priority::Critical));
    }

    #[cfg(feature = "otel")]
    #[tokio::test]
    async fn a_spawned_task_has_the_context_of_the_trace() {
        use opentelemetry::Context;

        #[derive(Debug, PartialEq)]
        struct Mark(u8);
        let read = || Context::current().get::<Mark>().map(|mark| mark.0);
        let task = {
            let _attached = Context::current_with_value(Mark(7)).attach();
            spawn(async move {
                tokio::task::yield_now().await;
                read()
            })
        };
        assert_eq!(task.await.ok().flatten(), Some(7));
        assert_eq!(read(), None);
    }
}
