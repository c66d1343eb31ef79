//! The table.
//!
//! ```text
//! peers                  measures and prints it
//! peers --write          puts it into docs/performance.md and README.md as well
//! peers --call NAME N    makes N calls of one contestant, for callgrind
//! peers --counts         without the times, which want an idle machine
//! peers … PART           only of contestants in whose name this is
//! ```

mod measure;
mod report;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use moneta_resilience_peers::{clock::runtime, contestants, pages, telemetry};

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let _telemetry = telemetry();
    if let [call, name, count] = &arguments[..]
        && call == "--call"
    {
        let scenarios = contestants::named(name);
        let ([scenario], Ok(count)) = (&scenarios[..], count.parse()) else {
            writeln!(io::stderr(), "`{name}` is not one contestant, or `{count}` is not a number")?;
            return Ok(ExitCode::FAILURE);
        };
        let _inside = runtime().enter();
        scenario.caller()(count);
        return Ok(ExitCode::SUCCESS);
    }
    let write = arguments.iter().any(|argument| argument == "--write");
    let part = arguments.iter().find(|argument| !argument.starts_with("--"));
    assert!(!write || part.is_none(), "only the whole table is written down");
    let scenarios = contestants::named(part.map_or("", String::as_str));
    let costs = measure::all(&scenarios, arguments.iter().any(|argument| argument == "--counts"))?;
    let report = report::Report::new(&scenarios, &costs);
    writeln!(io::stdout(), "{}", report.table())?;
    if write {
        pages::replace("docs/performance.md", "peers", &report.table())?;
        pages::replace("README.md", "peers", &report.summary())?;
    }
    Ok(ExitCode::SUCCESS)
}
