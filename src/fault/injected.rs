//! What one call suffers.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    Alter,
    answer::Altering,
    arming::{Arming, Suffering},
    fault::{Effect, Hooked},
    sample::Group,
    wait::Wait,
};
use crate::{
    call::later,
    class::Class,
    classify,
    error::{BoxError, InjectedFault},
    observer::Observer,
    policy::{Answer, Poller},
    random::Random,
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

    /// Takes the call in, for the first that is not over.
    pub(super) fn take(self, now: Instant) -> Option<Suffering> {
        self.coming.into_iter().find_map(|drawn| drawn.arming.take(drawn.group, now))
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
            if let Effect::Lost | Effect::Alter(_) = drawn.arming.fault.effect {
                self.later.push(drawn);
                continue;
            }
            let now = cx.now();
            let Some(suffering) = drawn.arming.take(drawn.group, now) else { continue };
            let effect = &drawn.arming.fault.effect;
            cx.reach();
            drawn.arming.tell(observer, cx.course);
            let (until, hook) = match effect {
                Effect::Error(class) => return Poll::Ready(Some(Instead::fault(InjectedFault::new(*class)))),
                Effect::Refused => return Poll::Ready(Some(Instead::fault(InjectedFault::refused()))),
                Effect::Latency(delay) => (Some(later(now, delay.draw(random))), None),
                Effect::Hang | Effect::Lost | Effect::Alter(_) | Effect::Duplicate { .. } => (None, None),
                Effect::Hook(hook) => (None, Some(hook())),
            };
            self.held = Some(Held::new(until, hook, suffering));
        }
    }

    /// What the call gets, where the service gave this.
    pub(super) fn after<R, L: Alter<R>>(
        self,
        answer: Answer<R>,
        look: &L,
        cx: &mut Poller<'_, '_>,
        observer: &Observer,
        random: &Random,
    ) -> Answer<L::Altered> {
        let now = cx.now();
        let mut answer = answer.map(|given| look.pass(given));
        for drawn in &self.later {
            let effect = &drawn.arming.fault.effect;
            let alteration = match (effect, &answer.result) {
                (Effect::Alter(alteration), Ok(given)) if look.can(given, alteration) => Some(alteration),
                (Effect::Alter(_), _) => continue,
                _ => None,
            };
            let Some(suffering) = drawn.arming.take(drawn.group, now) else { continue };
            drawn.arming.tell(observer, cx.course);
            let (Some(alteration), Ok(given)) = (alteration, &mut answer.result) else {
                return Instead::fault(InjectedFault::new(Class::TRANSIENT)).into();
            };
            let random = Random::seeded(random.next_u64());
            if let Some(class) = look.alter(given, Altering { alteration, suffering, random }) {
                (answer.class, answer.outcome) = (class, class.into());
            }
        }
        answer
    }
}

pin_project! {
    /// A call on its way to the service, kept from it.
    struct Held {
        #[pin]
        wait: Wait,
        hook: Option<Hooked>,
        _suffering: Suffering,
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Held {
    /// In a box: only a call that a fault holds pays for it.
    fn new(until: Option<Instant>, hook: Option<Hooked>, suffering: Suffering) -> Pin<Box<Self>> {
        Box::pin(Self { wait: Wait::new(until, suffering.from()), hook, _suffering: suffering })
    }
}

impl Future for Held {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let held = self.project();
        if held.wait.poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match held.hook {
            Some(hook) => hook.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
