//~ `http::Request<Upload>` does not say whether it may be sent twice
//~ a retry would have to send this request again
//~ an `http::Request<B>` is `Repeat` when `B: Clone`
use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use moneta_resilience::golden;
use tower::service_fn;

struct Upload;

async fn upload() -> Result<(), Box<dyn std::error::Error>> {
    let archive = service_fn(async |_: Request<Upload>| Ok::<_, Infallible>(Response::new(String::new())));
    let client = golden::client("archive").timeout(Duration::from_secs(1)).no_fallback().http(archive);
    client.send(Request::new(Upload)).await?;
    Ok(())
}

fn main() {
    drop(upload());
}
