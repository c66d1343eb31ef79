use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{task::JoinHandle, time::sleep};

use super::{FaultFile, FaultFileEvent};
use crate::{
    BoxError, Name, Registry,
    fault::{ArmError, FaultLimits, Faults, KillSwitch},
    golden::{self, Calls},
    random::unique,
};

const EVERY: Duration = Duration::from_secs(5);
const HANG: &str = "[[fault]]\neffect = \"refused\"\nuntil = \"2999-01-01T00:00:00Z\"\n";

/// A file that is watched, until it is dropped.
struct Watched {
    path: PathBuf,
    registry: Registry,
    told: Arc<Mutex<Vec<FaultFileEvent>>>,
    task: JoinHandle<()>,
}

impl Watched {
    async fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moneta-{:032x}-{name}", unique()));
        let (registry, told) = (Registry::new(), Arc::<Mutex<Vec<_>>>::default());
        let tell = Arc::clone(&told);
        let file = FaultFile::new(&path).every(EVERY).registry(&registry);
        let file = file.tell(move |event| tell.lock().expect("nobody panicked").push(event));
        let task = tokio::spawn(file.watch());
        // Between two looks, so that which of two things comes first is never a question.
        sleep(EVERY / 2).await;
        Self { path, registry, told, task }
    }

    fn stack(&self, name: &str, faults: &Faults) -> Calls {
        let builder =
            golden::client(name).timeout(EVERY).no_fallback().without_retry().without_circuit_breaker();
        builder.registry(&self.registry).faults(faults.clone()).calls()
    }

    /// Writes the file at once, as what distributes files should, and lets it be read.
    async fn says(&self, text: impl AsRef<[u8]>) {
        let beside = self.path.with_extension("new");
        fs::write(&beside, text).expect("there is room");
        fs::rename(beside, &self.path).expect("it is there");
        sleep(EVERY * 2).await;
    }

    /// Writes so much of it in its place, where one look finds it.
    async fn says_so_far(&self, text: &str) {
        fs::write(&self.path, text).expect("there is room");
        sleep(EVERY).await;
    }

    fn told(&self) -> Vec<FaultFileEvent> {
        std::mem::take(&mut self.told.lock().expect("nobody panicked"))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.path);
    }
}

async fn is_hit(stack: &Calls) -> bool {
    stack.run(async || Ok::<_, BoxError>(())).await.is_err()
}

fn under() -> Faults {
    Faults::under(&KillSwitch::new())
}

#[tokio::test(start_paused = true)]
async fn what_the_file_says_is_armed_and_what_it_says_no_more_is_not() {
    let file = Watched::new("faults.toml").await;
    let [quotes, ledger] = ["quotes", "ledger"].map(|name| file.stack(name, &under()));
    sleep(EVERY).await;
    assert!(!is_hit(&quotes).await);

    file.says(format!("{HANG}pipeline = \"quotes\"")).await;
    assert!(is_hit(&quotes).await && !is_hit(&ledger).await);
    file.says(HANG).await;
    assert!(is_hit(&quotes).await && is_hit(&ledger).await);
    let later = file.stack("later", &under());
    sleep(EVERY).await;
    assert!(is_hit(&later).await, "a stack that was built later");

    fs::remove_file(&file.path).expect("it is there");
    sleep(EVERY).await;
    assert!(!is_hit(&quotes).await && !is_hit(&ledger).await);
    assert!(file.told().contains(&FaultFileEvent::Disarmed { pipeline: Name::literal("quotes") }));
}

#[tokio::test(start_paused = true)]
async fn another_share_goes_on_with_the_same_fault() {
    let (file, faults) = (Watched::new("faults.toml").await, under());
    let stack = file.stack("quotes", &faults);
    file.says(HANG).await;
    assert!(is_hit(&stack).await);
    file.says(format!("{HANG}share = 0")).await;
    assert!(!is_hit(&stack).await);
    assert_eq!(faults.armed().iter().map(crate::fault::Armed::hit).collect::<Vec<_>>(), [1]);
    file.says(format!("{HANG}share = 100")).await;
    assert!(is_hit(&stack).await);
    assert_eq!(faults.armed()[0].hit(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_read_half_written_arms_nothing_that_it_does_not_say_in_the_end() {
    let file = Watched::new("faults.toml").await;
    let stack = file.stack("quotes", &under());
    for before in ["", "share = 0"] {
        file.says(if before.is_empty() { String::new() } else { format!("{HANG}{before}") }).await;
        // Up to its share it says all calls, and for a moment it is no TOML.
        let mut text = String::new();
        for piece in [HANG, "share", " = 0", ".0", "\n[[fault]]\n", "effect = \"refused\""] {
            text += piece;
            file.says_so_far(&text).await;
            assert!(!is_hit(&stack).await, "{text}");
        }
        // It stays as it is, and means nothing; what was found in between by one look is not armed by that.
        sleep(EVERY).await;
        assert!(!is_hit(&stack).await, "{text}");
    }
    // What is less is so at once.
    file.says(HANG).await;
    assert!(is_hit(&stack).await);
    file.says_so_far(&format!("{HANG}share = 0")).await;
    assert!(!is_hit(&stack).await);
    file.says(HANG).await;
    assert!(is_hit(&stack).await);
    file.says_so_far(" ").await;
    assert!(!is_hit(&stack).await);
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_changes_nothing_and_is_told_of_once() {
    let file = Watched::new("faults.toml").await;
    let stack = file.stack("quotes", &under());
    file.says(HANG).await;
    let long = format!("{HANG}# {}", "x".repeat(65 * 1024));
    for bad in [
        b"[[fault".to_vec(),
        b"[[fault]]\neffect = \"hook\"".to_vec(),
        b"\xff\xfe".to_vec(),
        long.into_bytes(),
    ] {
        file.told();
        file.says(&bad).await;
        let told = file.told();
        assert!(matches!(&told[..], [FaultFileEvent::Bad { .. }]), "{told:?}");
        assert!(is_hit(&stack).await);
        file.says(HANG).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_file_that_can_be_read_what_is_armed_ends_with_its_lease() {
    let file = Watched::new("faults.toml").await;
    let stack = file.stack("quotes", &under());
    file.says(HANG).await;
    fs::remove_file(&file.path).expect("it is there");
    fs::create_dir(&file.path).expect("nothing is there");
    sleep(EVERY * 2).await;
    assert!(is_hit(&stack).await);
    sleep(EVERY * 2).await;
    assert!(!is_hit(&stack).await);
    fs::remove_dir(&file.path).expect("it is empty");
    file.says(HANG).await;
    assert!(is_hit(&stack).await, "it can be read again");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_watches_any_more_nothing_is_armed() {
    let (mut file, faults) = (Watched::new("faults.json").await, under());
    let stack = file.stack("quotes", &faults);
    file.says(r#"{"fault": [{"effect": "refused", "until": "2999-01-01T00:00:00Z"}]}"#).await;
    assert!(is_hit(&stack).await);
    file.task.abort();
    (&mut file.task).await.expect_err("it was aborted");
    assert!(!is_hit(&stack).await);
}

#[tokio::test(start_paused = true)]
async fn what_was_killed_stays_so_until_the_file_says_something_else() {
    let (file, switch) = (Watched::new("faults.toml").await, KillSwitch::new());
    let stack = file.stack("quotes", &Faults::under(&switch));
    file.says(HANG).await;
    switch.engage();
    switch.release();
    sleep(EVERY * 3).await;
    assert!(!is_hit(&stack).await);
    file.says(format!("{HANG}experiment = \"again\"")).await;
    assert!(is_hit(&stack).await);
}

#[tokio::test(start_paused = true)]
async fn limits_hold_and_a_fault_whose_time_is_over_is_not_armed() {
    let (file, switch) = (Watched::new("faults.toml").await, KillSwitch::new());
    switch.limit(FaultLimits::new().active(0));
    let stack = file.stack("quotes", &Faults::under(&switch));
    file.says(HANG.replace("2999", "1999")).await;
    file.told();
    file.says(HANG).await;
    let refused =
        FaultFileEvent::Refused { pipeline: Name::literal("quotes"), why: ArmError::TooMany { limit: 0 } };
    assert_eq!(file.told(), [FaultFileEvent::Read { faults: 1 }, refused]);
    switch.limit(FaultLimits::new());
    sleep(EVERY).await;
    assert!(is_hit(&stack).await, "there is room now");
}
