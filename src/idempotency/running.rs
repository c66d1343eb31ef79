use tokio::sync::watch;

/// How many runs there are.
#[derive(Clone, Debug)]
pub(super) struct Running(watch::Sender<usize>);

impl Running {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until there is none.
    pub(super) async fn none(&self) {
        _ = self.0.subscribe().wait_for(|&running| running == 0).await;
    }

    pub(super) fn enter(&self) -> Entered<'_> {
        self.0.send_modify(|running| *running += 1);
        Entered(self)
    }
}

pub(super) struct Entered<'a>(&'a Running);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}
