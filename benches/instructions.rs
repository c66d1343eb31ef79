//! Runs one scenario so many times and nothing else: what `instructions.sh` counts the instructions of.
//!
//! ```text
//! instructions --list
//! instructions timeout/ready 1000
//! ```

mod scenarios;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut scenarios: Vec<_> = scenarios::all().into_iter().chain(scenarios::refusals()).collect();
    match &arguments[..] {
        [list] if list == "--list" => {
            for scenario in scenarios {
                writeln!(io::stdout(), "{}", scenario.name)?;
            }
        }
        [name, calls] => {
            let scenario = scenarios.iter_mut().find(|scenario| scenario.name == *name);
            let (Some(scenario), Ok(calls)) = (scenario, calls.parse()) else {
                writeln!(io::stderr(), "no scenario `{name}`, or `{calls}` is not a number; try --list")?;
                return Ok(ExitCode::FAILURE);
            };
            scenario.run(calls);
        }
        _ => writeln!(io::stderr(), "instructions are counted by benches/instructions.sh")?,
    }
    Ok(ExitCode::SUCCESS)
}
