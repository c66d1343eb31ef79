//! A day on which payments meet what payments meet.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use http::StatusCode;
use moneta_resilience::{fault::Fault, golden::Handle, idempotency::Owner};
use tokio::time::Instant;

use crate::{
    client::{Answer, Client},
    payment::Payment,
};

/// Longer than an attempt of the client waits.
const TOO_SLOW: Duration = Duration::from_millis(900);

/// Asks the service for payments, and gives those that are to be in its books, once.
pub(crate) async fn spend(address: SocketAddr, service: &Handle) -> Result<Vec<Payment>> {
    let shop = Client::new(address, Duration::from_secs(10));
    let day = Owner::random().as_u128() >> 96;
    let invoice = |number: u8, creditor: &str, amount| Payment {
        invoice: format!("{day:08x}/{number}"),
        creditor: creditor.to_owned(),
        amount,
    };
    let [alice, bob, carol] =
        [invoice(1, "Alice", 10_000), invoice(2, "Bob", 2_050), invoice(3, "Carol", 399)];
    double_click(&shop, service, &alice).await?;
    late_answer(&shop, service, &bob).await?;
    let key = caller_who_left(address, &shop, service, &carol).await?;
    key_of_another(&shop, &key, &Payment { amount: 39_900, ..carol.clone() }).await?;
    Ok(vec![alice, bob, carol])
}

/// A page makes its key when it is shown, so both clicks have the same.
async fn double_click(shop: &Client, service: &Handle, payment: &Payment) -> Result<()> {
    println!("\n{payment}: somebody clicks twice");
    service.faults().arm(Fault::latency(Duration::from_millis(150)));
    let (key, began) = (key(), Instant::now());
    let click = async |which| {
        let answer = shop.pay(payment, Some(&key)).await?;
        say(which, began, &answer);
        anyhow::Ok(answer)
    };
    let (first, second) = tokio::try_join!(click("one click"), click("the other"))?;
    service.faults().disarm();
    ensure!([&first, &second].iter().all(|answer| answer.status == StatusCode::CREATED), "both are answered");
    ensure!(first.is_replay || second.is_replay, "one of them at most pays");
    ensure!(first.body == second.body, "both get the same answer");
    Ok(())
}

/// The client asks again by itself, under the one key that it made for the call.
async fn late_answer(shop: &Client, service: &Handle, payment: &Payment) -> Result<()> {
    println!("\n{payment}: the answer comes too late, and the client asks again");
    service.faults().arm(Fault::latency(TOO_SLOW));
    let began = Instant::now();
    let answer = shop.pay(payment, None).await?;
    service.faults().disarm();
    say("answered", began, &answer);
    ensure!(
        answer.status == StatusCode::CREATED && answer.is_replay,
        "a later attempt gets what the first one did"
    );
    Ok(())
}

/// A caller that keeps its key with the payment can ask again whenever it likes, after a crash as well.
async fn caller_who_left(
    address: SocketAddr,
    shop: &Client,
    service: &Handle,
    payment: &Payment,
) -> Result<String> {
    println!("\n{payment}: the caller gives up, and asks again later");
    service.faults().arm(Fault::latency(TOO_SLOW));
    let (key, began) = (key(), Instant::now());
    match Client::new(address, TOO_SLOW / 3).pay(payment, Some(&key)).await {
        Ok(answer) => say("answered", began, &answer),
        Err(error) => println!("  {:4.1} s  gave up: {error}", began.elapsed().as_secs_f64()),
    }
    service.faults().disarm();
    let answer = shop.pay(payment, Some(&key)).await?;
    say("asked again", began, &answer);
    ensure!(answer.status == StatusCode::CREATED, "who comes again is answered");
    Ok(key)
}

/// A mistake of the caller's, which is told and not paid.
async fn key_of_another(shop: &Client, key: &str, payment: &Payment) -> Result<()> {
    println!("\n{payment}: under the key of the payment before");
    let began = Instant::now();
    let answer = shop.pay(payment, Some(key)).await?;
    say("answered", began, &answer);
    ensure!(answer.status == StatusCode::UNPROCESSABLE_ENTITY, "it is refused");
    Ok(())
}

/// A key for one thing to be done. Make it before the first try, and keep it until there is an answer.
fn key() -> String {
    format!("{:032x}", Owner::random().as_u128())
}

fn say(what: &str, began: Instant, answer: &Answer) {
    let replay = if answer.is_replay { ", replayed" } else { "" };
    let elapsed = began.elapsed().as_secs_f64();
    println!(
        "  {elapsed:4.1} s  {what}: {}{replay}, {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
}
