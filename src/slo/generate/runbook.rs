//! What to do about an alert, as far as it can be said without knowing the service.

use super::{
    Artefacts,
    alert::{self, Alert},
    rules::condition,
    text::{markdown, uid},
};
use crate::slo::Promise;

/// The whole file.
pub(super) fn runbook(of: &Artefacts, alert: Alert) -> String {
    let objective = &of.objective;
    let name = objective.name().as_str();
    let is_daily = matches!(objective.promise(), Promise::By(_));
    format!(
        "# {}: {}\n\n\
         Severity: {}. The objective: {} over 30 days. The dashboard: `/d/{}`.\n\n\
         ## What it means\n\n\
         {}\n\n\
         It is raised by\n\n\
         ```promql\n{}\n```\n\n\
         ## Look\n\n\
         {}\n\n\
         ## Do\n\n\
         {}\n\n\
         ## Fill in\n\n\
         - Who owns the service, and how to reach them:\n\
         - What its callers see of it, and who tells them:\n\
         - What it depends on, and who owns that:\n\
         - How to take the last change back:\n\
         - What to write down afterwards:\n",
        markdown(name),
        alert.name(),
        alert.severity().as_str(),
        markdown(&objective.to_string()),
        uid(name),
        meaning(of, alert),
        condition(objective, alert),
        look(alert, is_daily),
        act(alert, is_daily),
    )
}

fn meaning(of: &Artefacts, alert: Alert) -> String {
    if alert == Alert::Absent {
        return "For ten minutes no instance has told of this objective. Either none is up, which is an outage that nobody \
                counts, or none is scraped, or the objective has another name by now."
            .to_owned();
    }
    let budget = of.objective.target_value().budget();
    let mut lines = vec![
        format!(
            "{} of what counts in 30 days may be bad: the error budget. It is spent too fast: more was bad than one of these \
             lines grants, over both of its windows.\n",
            alert::budget_percent(budget),
        ),
        "| over the last | and still over the last | bad, more than | times the budget | spent of it by then |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(alert.burns(budget).map(|rule| {
        let (long, short) = (rule.long.as_str(), rule.short.as_str());
        let (rate, threshold) = (alert::rate(rule), alert::threshold_percent(rule, budget));
        format!("| {long} | {short} | {threshold} | {rate} | {} % |", alert::spent(rule))
    }));
    lines.push("\nIt ends by itself once the short window is below again.".to_owned());
    lines.join("\n")
}

const fn look(alert: Alert, is_daily: bool) -> &'static str {
    match alert {
        Alert::BurnsFast | Alert::BurnsSlowly if is_daily => {
            "1. *Objective*: which days are missing, the last one or more?\n\
             2. The job's own log: did it begin, did it fail, is it still at it?\n\
             3. What it waits for: the data, the database, the job before it.\n\
             4. *Calls* and *Circuit breakers* of its process: is something that it calls failing?"
        }
        Alert::BurnsFast | Alert::BurnsSlowly => {
            "1. *Objective*: since when, and how fast? What was changed at that time?\n\
             2. *Requests*: one route, or all? Errors, or slowness?\n\
             3. *Calls*: `transient`, `fault` and `timeout` come from a dependency, `rejected` from this side.\n\
             4. *Circuit breakers*: which dependency is cut off? *Bulkheads*: which is too slow for its places?\n\
             5. *Retries*: `budget_exhausted` says that a storm was held back.\n\
             6. *Faults*: above 0 it is an experiment."
        }
        Alert::Absent => {
            "1. `up` of the job: are there instances, and are they scraped?\n\
             2. The platform: are they restarting, or scaled to none?\n\
             3. `/metrics` of one: does it have `slo_events_total`?"
        }
    }
}

const fn act(alert: Alert, is_daily: bool) -> &'static str {
    match alert {
        Alert::BurnsFast if is_daily => {
            "1. Have the run made now, or let it end. The day stays missed, and those who wait for it get it.\n\
             2. Tell those who wait for it by when they have it.\n\
             3. A change since the last good run: take it back before the next one is due."
        }
        Alert::BurnsFast => {
            "1. A change of the last hours: take it back first, find out why afterwards.\n\
             2. An experiment: end it.\n\
             3. A dependency: tell its owners. Force its circuit open where a fallback is better than waiting.\n\
             4. Overload: add instances, or have the less important calls refused."
        }
        Alert::BurnsSlowly => {
            "1. No hurry, but within the week: what is bad goes on, and the budget will be gone early.\n\
             2. Find the route and the outcome that it is, and fix that.\n\
             3. Until then, hold back what is risky: releases, experiments, migrations."
        }
        Alert::Absent => {
            "1. Take it for an outage until you know better.\n\
             2. Bring an instance up, or have it scraped again.\n\
             3. An objective that was renamed or taken back: generate its files anew, and delete the old ones."
        }
    }
}
