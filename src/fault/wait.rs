use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::{sync::futures::OwnedNotified, time::Instant};

use super::arming::Arming;
use crate::timer::Timer;

pin_project! {
    /// What holds a call, or the body of its answer: ready once its time is over, or that of the fault.
    pub(super) struct Wait {
        // `None`: for ever.
        until: Option<Instant>,
        #[pin]
        timer: Timer,
        #[pin]
        ended: OwnedNotified,
        arming: Arc<Arming>,
    }
}

impl Wait {
    pub(super) fn new(until: Option<Instant>, arming: &Arc<Arming>) -> Self {
        Self { until, timer: Timer::new(), ended: arming.ended(), arming: Arc::clone(arming) }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut wait = self.project();
        if wait.ended.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let ends = wait.arming.ends();
            ready!(wait.timer.as_mut().poll_until(wait.until.map_or(ends, |until| until.min(ends)), cx));
            let now = Instant::now();
            if wait.until.is_some_and(|until| until <= now) || wait.arming.ends() <= now {
                return Poll::Ready(());
            }
            // It was renewed meanwhile.
            wait.timer.as_mut().clear();
        }
    }
}
