//! What has to compile: the golden path in the places where services put it.

use std::{error::Error, io, sync::Arc, time::Duration};

use moneta_resilience::{
    BoxError, Class, Reason, Registry, Rejected, Repeatable, classify, golden, hedge::HedgeLayer,
};
use tower::service_fn;

const LIMIT: Duration = Duration::from_secs(1);

fn ledger() -> golden::Calls {
    golden::client("ledger").timeout(LIMIT).no_fallback().registry(&Registry::new()).calls()
}

fn sent<T: Send + 'static>(value: T) -> T {
    value
}

async fn refused() -> Result<i64, io::Error> {
    Err(io::Error::from(io::ErrorKind::ConnectionRefused))
}

#[tokio::test(start_paused = true)]
async fn a_question_mark_takes_the_error_into_anyhow_and_into_a_box() {
    async fn with_anyhow() -> anyhow::Result<i64> {
        Ok(ledger().run(refused).await?)
    }
    async fn with_a_box() -> Result<i64, Box<dyn Error>> {
        Ok(ledger().run(refused).await?)
    }
    async fn with_a_box_to_send() -> Result<i64, BoxError> {
        Ok(ledger().run(refused).await?)
    }
    let text = refused().await.unwrap_err().to_string();
    assert_eq!(with_anyhow().await.unwrap_err().to_string(), text);
    assert_eq!(with_a_box().await.unwrap_err().to_string(), text);
    assert_eq!(with_a_box_to_send().await.unwrap_err().to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn what_the_question_mark_took_still_says_why() {
    async fn open() -> Result<i64, BoxError> {
        let ledger = ledger();
        ledger.handle().circuit_breaker().expect("on by default").force_open();
        Ok(ledger.run(refused).await?)
    }
    let error = open().await.unwrap_err();
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn a_closure_borrows_what_stands_around_it() {
    struct Pool(i64);
    impl Pool {
        async fn balance(&self, account: &str) -> Result<i64, io::Error> {
            tokio::task::yield_now().await;
            Ok(self.0 + i64::try_from(account.len()).unwrap())
        }
    }
    let ledger = ledger();
    let pool = Pool(40);
    let account = String::from("CH");
    let mut asked = 0;
    assert_eq!(ledger.run(|| pool.balance(&account)).await.unwrap(), 42);
    assert_eq!(ledger.run_repeatable(|| pool.balance(&account)).await.unwrap(), 42);
    let once = || {
        asked += 1;
        pool.balance(&account)
    };
    assert_eq!(ledger.run(once).await.unwrap(), 42);
    assert_eq!(asked, 1);
    let cached = 41;
    assert_eq!(ledger.run_or(refused, |_why| Ok(cached)).await.unwrap(), cached);
    assert_eq!(ledger.run_repeatable_or(refused, |_why| Ok(cached)).await.unwrap(), cached);
    assert_eq!(ledger.run(async || pool.balance(&account).await).await.unwrap(), 42);
}

/// The compiler looks into a spawned task with the lifetimes erased, also the one in `Box<dyn Error>`: no bound that has
/// to hold for the task to be `Send` may name it.
#[tokio::test(start_paused = true)]
async fn calls_are_made_from_spawned_tasks_whatever_their_errors() {
    let ledger = Arc::new(ledger());
    let account = Arc::new(String::from("CH"));
    let task = sent(async move {
        let concrete = || async { Ok::<_, io::Error>(account.len()) };
        let boxed = || async { Ok::<_, BoxError>(account.len()) };
        ledger.run(concrete).await.unwrap()
            + ledger.run(boxed).await.unwrap()
            + ledger.run_repeatable(concrete).await.unwrap()
            + ledger.run_repeatable(boxed).await.unwrap()
            + ledger.run_or(concrete, |_why| Ok(0)).await.unwrap()
            + ledger.run_or(boxed, |why| Err(why.into_error())).await.unwrap()
            + ledger.run_repeatable_or(concrete, |_why| Ok(account.len())).await.unwrap()
            + ledger.run_repeatable_or(boxed, |why| Err(why.into_error())).await.unwrap()
            + ledger.run_or_async(concrete, async |_why| Ok(0)).await.unwrap()
            + ledger.run_or_async(boxed, |why| async { Err(why.into_error()) }).await.unwrap()
            + ledger.run_repeatable_or_async(concrete, |_why| async { Ok(account.len()) }).await.unwrap()
            + ledger.run_repeatable_or_async(boxed, async |why| Err(why.into_error())).await.unwrap()
    });
    assert_eq!(tokio::spawn(task).await.unwrap(), 24);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_made_inside_a_spawned_task() {
    let task = sent(async {
        let echo = service_fn(async |Repeatable(n): Repeatable<u32>| Ok::<_, BoxError>(n));
        let judge = classify::errors(|error| error.is::<io::Error>().then_some(Class::Fault));
        let builder = golden::client("echo").timeout(LIMIT).registry(&Registry::new()).classify(judge);
        let client = builder.fallback(|why| Err(why.into_error())).service(echo);
        client.send(Repeatable(7)).await.unwrap()
    });
    assert_eq!(tokio::spawn(task).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_shared_state_and_its_calls_are_sent() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let echo = service_fn(async |Repeatable(n): Repeatable<u32>| Ok::<_, BoxError>(n));
    let registry = Registry::new();
    let client =
        golden::client("echo").timeout(LIMIT).fallback(|_why| Ok(0)).registry(&registry).service(echo);
    shared(&client);
    assert_eq!(tokio::spawn(sent(client.send(Repeatable(7)))).await.unwrap().unwrap(), 7);
    let boxed = client.boxed();
    shared(&boxed);
    assert_eq!(tokio::spawn(sent(boxed.send(Repeatable(8)))).await.unwrap().unwrap(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hedges_and_has_a_fallback_that_takes_time_is_called_from_a_spawned_task() {
    let task = sent(async {
        let echo = service_fn(async |Repeatable(n): Repeatable<u32>| Ok::<_, BoxError>(n));
        let builder = golden::client("echo").timeout(LIMIT).registry(&Registry::new());
        let client = builder.fallback_async(async |_why| Ok(0)).hedge(HedgeLayer::new()).service(echo);
        let calls = golden::client("calls").timeout(LIMIT).no_fallback().hedge(HedgeLayer::new()).calls();
        calls.run(refused).await.unwrap_err();
        calls.run_repeatable(|| async { Ok::<_, BoxError>(1) }).await.unwrap();
        client.send(Repeatable(7)).await.unwrap()
    });
    assert_eq!(tokio::spawn(task).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_fallback_is_another_client_is_called_from_a_spawned_task() {
    let task = sent(async {
        let client = |name| golden::client(name).timeout(LIMIT).registry(&Registry::new());
        let echo = service_fn(async |Repeatable(n): Repeatable<u32>| Ok::<_, BoxError>(n));
        let down = service_fn(async |_: Repeatable<u32>| refused().await.map(|_| 0));
        let replica = client("replica").no_fallback().service(echo);
        let client = client("quotes").fallback_service(replica.boxed()).service(down);
        client.send(Repeatable(7)).await.unwrap()
    });
    assert_eq!(tokio::spawn(task).await.unwrap(), 7);
}
