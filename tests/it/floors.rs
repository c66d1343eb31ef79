//! A file uses lower floors, or its own floor without a cycle, and the patterns of floor 2 never import each other.
//!
//! Read from the tokens of every file in `src`: each path that begins with `crate::` or climbs there with `super::`,
//! in imports, in code and inside macros. Code under `cfg(test)` may use what it likes. So may `lib.rs`, which has no
//! logic; a path to one of its re-exports is a use of the module that it comes from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Which module is on which floor; a new module is entered here.
const FLOORS: [&[&str]; 6] = [
    // Plain values, counts, and what stands in for the clock, randomness and atomics.
    &[
        "buffer",
        "cells",
        "class",
        "clock",
        "correlation",
        "dial",
        "error",
        "event",
        "facts",
        "fnv",
        "lane",
        "local",
        "mix",
        "name",
        "observer",
        "priority",
        "quota",
        "random",
        "ratio",
        "redact",
        "sync",
        "tally",
        "words",
    ],
    // What the patterns are made of.
    &[
        "budget", "call", "classify", "frame", "head", "key", "keyed", "latency", "policy", "problem",
        "registry", "repeat", "spawn", "timer", "trial", "window",
    ],
    // The patterns, one folder each.
    &[
        "bulkhead",
        "circuit_breaker",
        "fallback",
        "fault",
        "hedge",
        "idempotency",
        "load_shed",
        "rate_limit",
        "respond",
        "retry",
        "telemetry",
        "timeout",
    ],
    // Sinks, experiments, objectives, protocols.
    &["chaos", "grpc", "http", "messaging", "record", "slo"],
    // The profiles.
    &["golden"],
    // Operations.
    &["ops", "setup"],
];

/// The floor whose modules never import each other.
const PATTERNS: usize = 2;

#[test]
fn every_file_keeps_to_its_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let sources = files.iter().map(|file| {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        (name, fs::read_to_string(file).unwrap())
    });
    let (imports, mut broken) = imports(sources);
    assert!(imports.len() > 20, "the scan finds next to nothing: {imports:?}");
    broken.extend(violations(&imports));
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// One module's use of another, and the file it was found in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    to: String,
    file: String,
}

/// What the files import from each other, and the files that cannot be read as Rust.
fn imports(sources: impl Iterator<Item = (String, String)>) -> (BTreeSet<Import>, Vec<String>) {
    let (mut imports, mut broken) = (BTreeSet::new(), Vec::new());
    let sources: Vec<_> = sources.collect();
    let library = sources.iter().find(|(file, _)| file == "lib.rs");
    let re_exports = library.map(|(_, source)| re_exports(source)).unwrap_or_default();
    for (file, source) in sources {
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        if module == ["lib"] || module.iter().any(|part| part == "tests") {
            continue;
        }
        let Ok(tokens) = source.parse() else {
            broken.push(format!("src/{file} is not Rust as far as proc-macro2 can tell"));
            continue;
        };
        let mut used = BTreeSet::new();
        walk(tokens, &module, &mut used);
        let used = used.into_iter().map(|name| re_exports.get(&name).cloned().unwrap_or(name));
        imports.extend(used.filter(|to| *to != module[0]).map(|to| Import {
            from: module[0].clone(),
            to,
            file: file.clone(),
        }));
    }
    (imports, broken)
}

/// From which module `lib.rs` takes each name that it re-exports: `pub use module::{Name, Name};`.
fn re_exports(library: &str) -> BTreeMap<String, String> {
    let tokens: Vec<TokenTree> = library.parse::<TokenStream>().into_iter().flatten().collect();
    let uses = tokens.split(|token| matches!(token, TokenTree::Punct(end) if end.as_char() == ';'));
    let mut names = BTreeMap::new();
    for item in uses {
        let Some(at) = item.iter().position(|token| matches!(token, TokenTree::Ident(word) if word == "use"))
        else {
            continue;
        };
        if let [TokenTree::Ident(module), _, _, rest @ ..] = &item[at + 1..] {
            let rest: TokenStream = rest.iter().cloned().collect();
            let words = rest.to_string();
            let words =
                words.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            names.extend(words.map(|name| (name.to_owned(), module.to_string())));
        }
    }
    names
}

/// Collects the top-level modules that these tokens, which stand in `module`, name.
fn walk(tokens: TokenStream, module: &[String], used: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [TokenTree::Punct(hash), TokenTree::Group(attribute), ..]
                if hash.as_char() == '#' && is_cfg_test(&attribute.stream()) =>
            {
                at = after_item(&tokens, at + 2);
                continue;
            }
            [TokenTree::Ident(keyword), TokenTree::Ident(name), TokenTree::Group(body), ..]
                if keyword == "mod" =>
            {
                let inner: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
                walk(body.stream(), &inner, used);
                at += 3;
                continue;
            }
            [TokenTree::Ident(start), ..] if start == "crate" || start == "super" => {
                at = follow(&tokens, at, module, used);
                continue;
            }
            [TokenTree::Group(group), ..] => walk(group.stream(), module, used),
            _ => {}
        }
        at += 1;
    }
}

/// Follows the path that starts at `at` to the top-level modules it names; gives the place behind its start.
fn follow(tokens: &[TokenTree], mut at: usize, module: &[String], used: &mut BTreeSet<String>) -> usize {
    let mut base = module;
    loop {
        base = match &tokens[at] {
            TokenTree::Ident(part) if part == "crate" => &[],
            TokenTree::Ident(part) if part == "super" => &base[..base.len().saturating_sub(1)],
            _ => break,
        };
        if !is_path_separator(tokens.get(at + 1), tokens.get(at + 2)) || tokens.len() <= at + 3 {
            // `pub(crate)`, `pub(super)`: a visibility, not a path.
            return at + 1;
        }
        at += 3;
    }
    match &tokens[at] {
        _ if !base.is_empty() => {}
        // `crate::{a::X, b::{Y, Z}}`: the first name after each comma.
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            let mut first = true;
            for token in group.stream() {
                if first {
                    used.insert(token.to_string());
                }
                first = matches!(&token, TokenTree::Punct(comma) if comma.as_char() == ',');
            }
        }
        name => {
            used.insert(name.to_string());
        }
    }
    // Behind the first name, so that what stands in braces is not walked as if it were another path.
    at + 1
}

fn is_path_separator(first: Option<&TokenTree>, second: Option<&TokenTree>) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(c)) if c.as_char() == ':');
    colon(first) && colon(second)
}

/// `cfg(test)` and `cfg(all(test, …))`, but neither `cfg(not(test))` nor `cfg(any(test, …))`.
fn is_cfg_test(attribute: &TokenStream) -> bool {
    let text: String = attribute.to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// The place behind the item that starts at `at`: its `;`, or its body.
fn after_item(tokens: &[TokenTree], at: usize) -> usize {
    let mut is_use = false;
    for (distance, token) in tokens[at..].iter().enumerate() {
        match token {
            TokenTree::Ident(keyword) if keyword == "use" => is_use = true,
            TokenTree::Punct(end) if end.as_char() == ';' => return at + distance + 1,
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace && !is_use => {
                return at + distance + 1;
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Every rule that these imports break, one line each.
fn violations(imports: &BTreeSet<Import>) -> Vec<String> {
    let mut broken = BTreeSet::new();
    let mut same_floor: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Import { from, to, file } in imports {
        let (Some(own), Some(other)) = (floor(from), floor(to)) else {
            for module in [from, to].into_iter().filter(|module| floor(module).is_none()) {
                broken.insert(format!(
                    "src/{file}: `{module}` is on no floor; enter a new module in FLOORS of tests/it/floors.rs"
                ));
            }
            continue;
        };
        if other > own {
            broken.insert(format!(
                "src/{file}: `{from}` (floor {own}) uses `{to}` (floor {other}): only downwards"
            ));
        } else if other == own && own == PATTERNS {
            broken.insert(format!(
                "src/{file}: `{from}` uses `{to}`: patterns never import each other; what one tells another \
                 travels in the call or as an event"
            ));
        } else if other == own {
            same_floor.entry(from).or_default().insert(to);
        }
    }
    broken.extend(cycles(&same_floor));
    broken.into_iter().collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// The modules from which a walk along the uses leads back to themselves.
fn cycles(uses: &BTreeMap<&str, BTreeSet<&str>>) -> Option<String> {
    let reaches_itself = |start: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(module) = open.pop() {
            for &next in uses.get(module).into_iter().flatten() {
                if next == start {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    };
    let circle: Vec<&str> = uses.keys().copied().filter(|module| reaches_itself(module)).collect();
    (!circle.is_empty()).then(|| format!("these modules of one floor use each other in a circle: {circle:?}"))
}

mod the_check_itself {
    use super::*;

    /// What is broken in a tree of one file (or two) in which all else is right.
    fn broken(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|&(file, source)| (file.to_owned(), source.to_owned()));
        let (imports, mut broken) = imports(sources);
        broken.extend(violations(&imports));
        broken
    }

    #[track_caller]
    fn assert_broken(files: &[(&str, &str)], word: &str) {
        let found = broken(files);
        assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
    }

    #[test]
    fn lets_a_file_use_lower_floors_and_its_own() {
        let files = [
            ("lib.rs", "pub use crate::golden::X;"),
            ("error.rs", "use crate::{class::Class, name::{Name, InvalidName}};"),
            ("class.rs", "pub(crate) fn f() {} mod inner { use super::Y; pub(in crate::class) fn g() {} }"),
            ("retry/policy.rs", "use super::backoff::Backoff; use crate::{call::Call, timer::Timer};"),
            (
                "retry/mod.rs",
                "/// See [`x`](crate::golden).\nmod policy; // crate::golden\n const S: &str = \"crate::ops\";",
            ),
            ("golden/client.rs", "use crate::{retry::RetryLayer, http, timeout::*};"),
        ];
        assert_eq!(broken(&files), Vec::<String>::new());
    }

    #[test]
    fn lets_tests_use_what_they_like() {
        let files = [
            ("retry/tests.rs", "use crate::{golden, timeout};"),
            (
                "retry/mod.rs",
                "#[cfg(test)] use crate::{golden::{self}, ops}; #[cfg(test)] mod t { use crate::golden; }",
            ),
            ("call.rs", "#[cfg(all(test, moneta_loom))] #[allow(x)] mod loom { use crate::golden; }"),
        ];
        assert_eq!(broken(&files), Vec::<String>::new());
    }

    #[test]
    fn finds_a_use_of_a_higher_floor_wherever_it_stands() {
        for source in [
            "use crate::retry::X;",
            "use crate::{class::Class, retry::{X, Y}};",
            "pub(crate) use crate::{self_::{a, b}, retry};",
            "fn f() { crate::retry::g() }",
            "fn f<T: Into<crate::retry::X>>() {}",
            "use super::retry::X;",
            "mod inner { use super::super::retry::X; }",
            "pin_project! { struct X { inner: crate::retry::X } }",
            "#[cfg(not(test))] use crate::retry::X;",
            "#[cfg(test)] use crate::golden; use crate::retry::X;",
            "#[cfg(test)] mod tests { use crate::golden; } use crate::retry::X;",
        ] {
            let source = source.replace("self_", "class");
            assert_broken(&[("call.rs", &source)], "only downwards");
        }
        assert_broken(&[("retry/backoff.rs", "use super::super::golden::X;")], "only downwards");
    }

    #[test]
    fn finds_patterns_that_import_each_other() {
        assert_broken(&[("retry/policy.rs", "use crate::timeout::X;")], "patterns never import each other");
    }

    #[test]
    fn finds_a_cycle_on_one_floor() {
        let files = [
            ("call.rs", "use crate::timer::X;"),
            ("timer.rs", "use crate::policy::X;"),
            ("policy.rs", "use crate::call::X;"),
        ];
        assert_broken(&files, "in a circle");
        assert_eq!(broken(&files[..2]), Vec::<String>::new());
    }

    #[test]
    fn finds_a_use_through_a_re_export() {
        let library =
            ("lib.rs", "mod class; pub mod golden; pub use class::{Class, Ending}; pub use golden::Client;");
        assert_eq!(broken(&[library, ("call.rs", "use crate::{Class, Ending};")]), Vec::<String>::new());
        assert_broken(&[library, ("call.rs", "use crate::{Class, Client};")], "uses `golden` (floor 4)");
    }

    #[test]
    fn finds_a_module_on_no_floor() {
        assert_broken(&[("helpers.rs", "use crate::class::Class;")], "`helpers` is on no floor");
        assert_broken(&[("call.rs", "use crate::{Unknown, class};")], "`Unknown` is on no floor");
        assert_broken(&[("call.rs", "use super::*;")], "`*` is on no floor");
    }
}
