//! The rules, dashboards and runbooks of some objectives: `cargo run --features slo-generate --example slo -- out/`.
//!
//! A service keeps its objectives in a function that its `main` calls as well, and writes what watches them with a program
//! like this one, before each release.

#![expect(clippy::print_stdout, reason = "a person reads along")]

#[path = "quickstart/objectives.rs"]
mod objectives;

use std::{env, path::Path, time::Duration};

use anyhow::{Context, Result};
use moneta_resilience::slo::{Objective, generate::Artefacts};

/// What is promised, and what watches it.
fn artefacts() -> [Artefacts; 4] {
    // "99.9 % of login attempts succeed within 2 seconds."
    let login = Objective::new("login").target(99.9).within(Duration::from_secs(2));
    // "Daily portfolio report generation completes by 06:00 on 99 % of days."
    let report = Objective::new("portfolio-report").target(99.0).by("06:00", "Europe/Zurich");
    [
        Artefacts::of(&login).route("/login"),
        Artefacts::of(&report),
        // Those of the quickstart.
        Artefacts::of(&objectives::portfolio()).route("/portfolio"),
        Artefacts::of(&objectives::market_data()),
    ]
}

fn main() -> Result<()> {
    let folder = env::args_os().nth(1);
    for artefacts in artefacts() {
        for (file, text) in artefacts.files() {
            println!("{:>5} lines  {file}", text.lines().count());
        }
        if let Some(folder) = &folder {
            let folder = Path::new(folder);
            artefacts.write_to(folder).with_context(|| format!("cannot write into {}", folder.display()))?;
        }
    }
    if folder.is_none() {
        println!("say where to write them: cargo run --features slo-generate --example slo -- out/");
    }
    Ok(())
}
