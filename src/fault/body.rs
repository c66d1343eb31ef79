use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    Delay,
    alter::set_code,
    arming::{Arming, Suffering},
    wait::Wait,
};
use crate::{
    call::later,
    class::Class,
    error::{BoxError, InjectedFault},
    random::Random,
};

pin_project! {
    /// The body of an answer that passed a fault hook.
    ///
    /// Its error is the body's own, or an [`InjectedFault`].
    pub struct FaultBody<B> {
        // `None`: nothing is done to it. In a box: only an answer that is hit pays for it.
        ills: Option<Box<Ills>>,
        #[pin]
        body: B,
    }
}

/// What happens to a body on its way.
#[derive(Clone, Debug)]
pub(super) enum Course {
    /// It comes slowly.
    Slow(Pace),
    /// It is cut, with an error or silently.
    Cut { after: u64, silent: bool },
    /// It ends with this status of gRPC.
    #[cfg_attr(
        not(any(feature = "grpc", feature = "fault-file")),
        expect(dead_code, reason = "only gRPC has such")
    )]
    Ends(HeaderValue),
}

/// How slowly.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// Each frame so much later.
    Frames(Delay),
    /// So many bytes in a time.
    Bytes { bytes: u64, per: Duration },
}

/// All that is done to a body.
#[derive(Default)]
struct Ills {
    /// What comes in its place.
    instead: Option<Bytes>,
    each: Vec<Ill>,
    /// How many bytes passed.
    passed: u64,
    over: bool,
}

/// One of the things that are done to a body.
struct Ill {
    course: Course,
    suffering: Suffering,
    random: Random,
    /// For how long the next frame is held.
    owed: Option<Duration>,
    held: Option<Pin<Box<Wait>>>,
}

impl<B> FaultBody<B> {
    #[inline]
    pub(super) fn well(body: B) -> Self {
        Self { ills: None, body }
    }

    /// This comes in the place of the body.
    pub(super) fn replace(&mut self, content: Bytes) {
        self.ills().instead = Some(content);
    }

    /// There is no more.
    pub(super) fn end(&mut self) {
        self.ills().end();
    }

    /// This happens to what is still to come.
    pub(super) fn fall_ill(&mut self, course: Course, suffering: Suffering, random: Random) {
        let mut ill = Ill { course, suffering, random, owed: None, held: None };
        if let Course::Slow(Pace::Frames(_)) = ill.course {
            ill.owe(0);
        }
        self.ills().each.push(ill);
    }

    fn ills(&mut self) -> &mut Ills {
        self.ills.get_or_insert_default()
    }
}

impl<B> Body for FaultBody<B>
where
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        match this.ills {
            None => this.body.poll_frame(cx).map_err(Into::into),
            Some(ills) => ills.poll_frame(this.body, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        // While something may still happen to it, the reader has to ask.
        self.ills.as_ref().map_or_else(|| self.body.is_end_stream(), |ills| ills.over)
    }

    /// The body's own, also of one that will be cut: a length that was promised and is not kept is what a reader can see.
    fn size_hint(&self) -> SizeHint {
        match &self.ills {
            Some(ills) if ills.over => SizeHint::with_exact(0),
            Some(ills) => {
                let instead = ills.instead.as_ref().map(|content| SizeHint::with_exact(content.len() as u64));
                instead.unwrap_or_else(|| self.body.size_hint())
            }
            None => self.body.size_hint(),
        }
    }
}

impl Ills {
    fn poll_frame<B>(
        &mut self,
        body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>>
    where
        B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
    {
        if self.over {
            return Poll::Ready(None);
        }
        for ill in &mut self.each {
            ready!(ill.poll_held(cx));
        }
        let now = Instant::now();
        if let Some((_, silent)) = self.cut(now).filter(|&(after, _)| after <= self.passed) {
            self.end();
            return Poll::Ready((!silent).then(|| Err(InjectedFault::new(Class::TRANSIENT).into())));
        }
        let frame = match &mut self.instead {
            Some(content) if content.is_empty() => None,
            Some(content) => Some(Frame::data(mem::take(content).into())),
            None => match ready!(body.poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame),
                Some(Err(error)) => {
                    self.end();
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => None,
            },
        };
        Poll::Ready(match frame.map(Frame::into_data) {
            Some(Ok(data)) => Some(Ok(Frame::data(self.data(data, now)))),
            Some(Err(frame)) => self.trailers(frame.into_trailers().ok(), now),
            None => self.trailers(None, now),
        })
    }

    /// As much of this as may pass.
    fn data<D: Buf + From<Bytes>>(&mut self, mut data: D, now: Instant) -> D {
        let room = self.cut(now).map_or(u64::MAX, |(after, _)| after - self.passed);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if data.remaining() > room {
            data = data.copy_to_bytes(room).into();
        }
        self.passed += data.remaining() as u64;
        self.each.iter_mut().for_each(|ill| ill.owe(data.remaining()));
        data
    }

    /// The end of the body, which had these.
    fn trailers<D>(
        &mut self,
        mut trailers: Option<HeaderMap>,
        now: Instant,
    ) -> Option<Result<Frame<D>, BoxError>> {
        for ill in self.each.iter().filter(|ill| ill.arming().is_live(now)) {
            if let Course::Ends(code) = &ill.course {
                set_code(trailers.get_or_insert_default(), code);
            }
        }
        self.end();
        trailers.map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// After how many bytes it is cut, and whether silently.
    fn cut(&self, now: Instant) -> Option<(u64, bool)> {
        let live = self.each.iter().filter(|ill| ill.arming().is_live(now));
        let cuts = live.filter_map(|ill| match ill.course {
            Course::Cut { after, silent } => Some((after, silent)),
            _ => None,
        });
        // What has passed cannot be taken back.
        cuts.min_by_key(|&(after, _)| after).map(|(after, silent)| (after.max(self.passed), silent))
    }

    fn end(&mut self) {
        self.over = true;
        self.each.clear();
    }
}

impl Ill {
    fn arming(&self) -> &Arc<Arming> {
        self.suffering.from()
    }

    /// So many bytes were handed over.
    fn owe(&mut self, bytes: usize) {
        self.owed = match &self.course {
            Course::Slow(Pace::Frames(delay)) => Some(delay.draw(&self.random)),
            Course::Slow(Pace::Bytes { bytes: in_time, per }) => {
                let nanos = per.as_nanos().saturating_mul(bytes as u128) / u128::from(*in_time);
                Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
            Course::Cut { .. } | Course::Ends(_) => None,
        };
    }

    /// Ready once the next frame may come.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(owed) = self.owed.take() {
            let until = later(Instant::now(), owed);
            // In a box: only a body that is slowed down pays for it.
            self.held = Some(Box::pin(Wait::new(Some(until), self.suffering.from())));
        }
        if let Some(held) = &mut self.held {
            ready!(held.as_mut().poll(cx));
            self.held = None;
        }
        Poll::Ready(())
    }
}

impl<B: fmt::Debug> fmt::Debug for FaultBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultBody").field("body", &self.body).finish_non_exhaustive()
    }
}
