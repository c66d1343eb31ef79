//! What one call suffers.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

use pin_project_lite::pin_project;
use tokio::{sync::futures::OwnedNotified, time::Instant};

use super::{
    arming::{Arming, Suffering},
    fault::{Effect, Hooked},
    sample::Group,
};
use crate::{
    call::later,
    class::Class,
    classify,
    error::{BoxError, InjectedFault},
    event::Event,
    observer::Observer,
    policy::Poller,
    random::Random,
    timer::Timer,
};

/// A fault that is meant for a call.
#[derive(Debug)]
pub(super) struct Drawn {
    arming: Arc<Arming>,
    group: Group,
}

impl Drawn {
    pub(super) fn new(arming: Arc<Arming>, group: Group) -> Self {
        Self { arming, group }
    }
}

/// The faults that are meant for a call, in their order.
#[derive(Debug)]
pub(super) struct Injected {
    coming: vec::IntoIter<Drawn>,
    held: Option<Pin<Box<Held>>>,
    /// What becomes of the answer.
    later: Vec<Drawn>,
}

/// What a call gets in the place of what the service would say.
pub(super) struct Instead {
    pub(super) error: BoxError,
    pub(super) class: Class,
}

impl Instead {
    fn fault(fault: InjectedFault) -> Self {
        Self { class: fault.class(), error: fault.into() }
    }
}

impl Injected {
    pub(super) fn new(drawn: Vec<Drawn>) -> Self {
        Self { coming: drawn.into_iter(), held: None, later: Vec::new() }
    }

    /// Ready once the call may go on to the service, or with what it gets instead.
    pub(super) fn poll_before(
        &mut self,
        cx: &mut Poller<'_, '_>,
        observer: &Observer,
        random: &Random,
    ) -> Poll<Option<Instead>> {
        loop {
            if let Some(held) = &mut self.held {
                let done = ready!(held.as_mut().poll(cx.task));
                self.held = None;
                if let Err(error) = done {
                    let class = classify::known(&error).unwrap_or(Class::TRANSIENT);
                    return Poll::Ready(Some(Instead { error, class }));
                }
            }
            let Some(drawn) = self.coming.next() else { return Poll::Ready(None) };
            if let Effect::Lost = drawn.arming.fault.effect {
                self.later.push(drawn);
                continue;
            }
            let now = cx.now();
            let Some(suffering) = drawn.arming.take(drawn.group, now) else { continue };
            let effect = &drawn.arming.fault.effect;
            cx.reach();
            observer.emit(Event::FaultInjected { fault: effect.kind() });
            let (until, hook) = match effect {
                Effect::Error(class) => return Poll::Ready(Some(Instead::fault(InjectedFault::new(*class)))),
                Effect::Refused => return Poll::Ready(Some(Instead::fault(InjectedFault::refused()))),
                Effect::Latency(delay) => (Some(later(now, delay.draw(random))), None),
                Effect::Hang | Effect::Lost => (None, None),
                Effect::Hook(hook) => (None, Some(hook())),
            };
            self.held = Some(Held::new(until, hook, suffering));
        }
    }

    /// What the call gets in the place of the answer that the service gave.
    pub(super) fn after(self, cx: &mut Poller<'_, '_>, observer: &Observer) -> Option<Instead> {
        let now = cx.now();
        let _suffering = self.later.iter().find_map(|drawn| drawn.arming.take(drawn.group, now))?;
        observer.emit(Event::FaultInjected { fault: Effect::Lost.kind() });
        Some(Instead::fault(InjectedFault::new(Class::TRANSIENT)))
    }
}

pin_project! {
    /// A call on its way to the service, kept from it. In a box, in which it waits.
    struct Held {
        // `None`: for ever.
        until: Option<Instant>,
        #[pin]
        timer: Timer,
        #[pin]
        ended: OwnedNotified,
        hook: Option<Hooked>,
        suffering: Suffering,
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Held {
    fn new(until: Option<Instant>, hook: Option<Hooked>, suffering: Suffering) -> Pin<Box<Self>> {
        let ended = suffering.from().ended();
        Box::pin(Self { until, timer: Timer::new(), ended, hook, suffering })
    }
}

impl Future for Held {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut held = self.project();
        if held.ended.poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if let Some(hook) = held.hook
            && let Poll::Ready(done) = hook.as_mut().poll(cx)
        {
            return Poll::Ready(done);
        }
        loop {
            let ends = held.suffering.from().ends();
            ready!(held.timer.as_mut().poll_until(held.until.map_or(ends, |until| until.min(ends)), cx));
            let now = Instant::now();
            if held.until.is_some_and(|until| until <= now) || held.suffering.from().ends() <= now {
                return Poll::Ready(Ok(()));
            }
            // It was renewed meanwhile.
            held.timer.as_mut().clear();
        }
    }
}
