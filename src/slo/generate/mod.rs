//! Rules, a dashboard and runbooks, out of the value that the service counts by.
//!
//! A team writes an [`Objective`] once. What watches it is text, and comes from the same value:
//!
//! ```
//! use std::time::Duration;
//! use moneta_resilience::slo::{Objective, generate::Artefacts};
//!
//! let login = Objective::new("login").target(99.9).within(Duration::from_secs(2));
//! let artefacts = Artefacts::of(&login).route("/login");
//! let rules = artefacts.rules();
//! assert!(rules.contains("slo:bad:ratio_rate1h{slo_name=\"login\"} > 0.0144"));
//! # let folder = std::env::temp_dir().join(format!("moneta-artefacts-{}", std::process::id()));
//!
//! artefacts.write_to(&folder)?;
//! assert!(folder.join("rules/login.yml").exists());
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `rules/{name}.yml` | what Prometheus records and raises: `rule_files` |
//! | `dashboards/{name}.json` | a dashboard of Grafana, schema 36, which Grafana 9 and all after it read |
//! | `runbooks/{name}/{alert}.md` | what to do about an alert, to be filled in by the team |
//!
//! The same value always gives the same text, to the byte, so that it can be kept under version control and compared. All
//! numbers are the decimal ones that people write. A name may hold what it likes: it stays inside its quotes, and its files
//! inside their folders; what file systems, or people, might take for something else is written as `_` and its number.
//!
//! `docs/slo.md` says how to load it, and what the alerts mean.

mod alert;
mod dashboard;
mod panels;
mod rules;
mod runbook;
#[cfg(test)]
mod tests;
mod text;

use std::{fs, io, path::Path};

use self::{
    alert::Alert,
    text::{file_stem, quoted},
};
use super::{Objective, Promise};

/// What a team loads into its monitoring for one objective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefacts {
    objective: Objective,
    route: Option<String>,
    runbooks: String,
}

impl Artefacts {
    /// Those of an objective. No two that one Prometheus watches may have the same name.
    pub fn of(objective: &Objective) -> Self {
        Self { objective: objective.clone(), route: None, runbooks: "runbooks/".to_owned() }
    }

    /// Computes the share of bad calls also from the durations of this route over HTTP, `http.route`, as a check of what is
    /// counted. Default: no check.
    ///
    /// The durations need a bucket that ends where the objective does: `Telemetry::builder(..).latency_thresholds(..)`. As
    /// long as there is none, the check has no value. They know nothing of callers that left early, of fallbacks, of
    /// synthetic traffic and of faults that are counted apart, so a small difference is none.
    ///
    /// # Panics
    ///
    /// When the objective is about daily runs.
    #[track_caller]
    #[must_use]
    pub fn route(mut self, route: &str) -> Self {
        let is_daily = matches!(self.objective.promise(), Promise::By(_));
        assert!(!is_daily, "daily runs are no requests of a route: leave `.route(..)` out");
        self.route = Some(route.to_owned());
        self
    }

    /// Where the runbooks will be found, for the annotation `runbook` of the alerts: a URL to which `{name}/{alert}.md` is
    /// added. Default: `runbooks/`.
    ///
    /// # Panics
    ///
    /// When it has signs that no URL has, or does not begin with a letter, a digit, `.` or `/`.
    #[track_caller]
    #[must_use]
    pub fn runbooks_at(mut self, url: &str) -> Self {
        let is_of_urls = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!&()*+,;=%".contains(c);
        // Nothing that means something to YAML begins like that.
        let begins_well = url.starts_with(|c: char| c.is_ascii_alphanumeric() || "./".contains(c));
        assert!(
            begins_well && url.chars().all(is_of_urls),
            "runbooks are found at a URL, and not at {url:?}"
        );
        self.runbooks = format!("{}/", url.trim_end_matches('/'));
        self
    }

    /// The rules of Prometheus, in YAML.
    pub fn rules(&self) -> String {
        rules::rules(self)
    }

    /// The dashboard of Grafana, in JSON. Its `uid` is made of the objective's name, so that loading it again replaces it.
    pub fn dashboard(&self) -> String {
        dashboard::dashboard(self)
    }

    /// All files: where they belong in a folder, with `/` between, and what is in them.
    pub fn files(&self) -> Vec<(String, String)> {
        let stem = self.stem();
        let mut files = vec![
            (format!("rules/{stem}.yml"), self.rules()),
            (format!("dashboards/{stem}.json"), self.dashboard()),
        ];
        let runbooks = self
            .alerts()
            .map(|alert| (format!("runbooks/{}", self.page(alert)), runbook::runbook(self, alert)));
        files.extend(runbooks);
        files
    }

    /// Writes all files into a folder, which is made if there is none. What was in them before is gone; what a team adds to a
    /// runbook it keeps elsewhere.
    ///
    /// # Errors
    ///
    /// When the file system refuses one. Those before it are written.
    pub fn write_to(&self, folder: impl AsRef<Path>) -> io::Result<()> {
        for (file, text) in self.files() {
            let path = folder.as_ref().join(file);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, text)?;
        }
        Ok(())
    }

    /// The alerts that can be raised.
    fn alerts(&self) -> impl Iterator<Item = Alert> {
        let budget = self.objective.target_value().budget();
        Alert::ALL.into_iter().filter(move |alert| alert.is_possible(budget))
    }

    /// What its files are called.
    fn stem(&self) -> String {
        file_stem(self.objective.name().as_str())
    }

    /// The runbook of an alert, among all.
    fn page(&self, alert: Alert) -> String {
        format!("{}/{}.md", self.stem(), alert.name())
    }

    /// Its name in quotes.
    fn quoted_name(&self) -> String {
        quoted(self.objective.name().as_str())
    }
}
