//! The compile errors that read like advice.
//!
//! Each file in `tests/ui` leaves something out and must not compile. The `//~` lines at its top are what the compiler
//! must say: the first is the message of the first error, the others are found anywhere in what is printed. Only our
//! own words are compared, so that another compiler may put its own round them as it likes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What the compiler said about one file.
#[derive(Debug, Default)]
struct Said {
    /// The messages of its errors, in order.
    errors: Vec<String>,
    /// Everything, as it is printed.
    rendered: String,
}

#[test]
fn what_was_left_out_is_asked_for_in_our_own_words() {
    let cases = cases();
    let package = package(&cases);
    let said = check(&package);
    let nothing = Said::default();
    let mut wrong = String::new();
    for (name, source) in &cases {
        let said = said.get(name).unwrap_or(&nothing);
        if let Err(why) = said.agrees_with(source) {
            writeln!(wrong, "\ntests/ui/{name}.rs: {why}. The compiler said:\n{}", said.rendered).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The files of `tests/ui`, by name.
fn cases() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let cases: BTreeMap<_, _> = sources
        .map(|file| {
            (file.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&file).unwrap())
        })
        .collect();
    assert!(!cases.is_empty(), "{} is empty", folder.display());
    cases
}

/// A package of its own with each case as a program, built from what the lock file of this one has brought already.
fn package(cases: &BTreeMap<String, String>) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    let programs = package.join("src/bin");
    // What is left from another day must not be checked today.
    let _ = fs::remove_dir_all(&programs);
    fs::create_dir_all(&programs).unwrap();
    for (name, source) in cases {
        fs::write(programs.join(name).with_extension("rs"), source).unwrap();
    }
    let manifest = format!(
        r#"
            [package]
            name = "ui"
            version = "0.0.0"
            edition = "2024"
            publish = false

            [workspace]

            [dependencies]
            moneta-resilience = {{ path = '{root}', default-features = false, features = ["grpc"] }}
            http = "1"
            tonic = {{ version = "0.14", default-features = false, features = ["transport"] }}
            tower = {{ version = "0.5", features = ["util"] }}
        "#,
        root = root.display(),
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    package
}

/// Has the package checked and sorts what was said by program.
fn check(package: &Path) -> BTreeMap<String, Said> {
    let output = Command::new(env!("CARGO"))
        // Here, so that the configuration of this crate's cargo is found.
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["check", "--offline", "--keep-going", "--quiet", "--message-format=json"])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .output()
        .expect("cargo runs these tests, so it is there");
    let mut said = BTreeMap::<String, Said>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        if message["reason"] != "compiler-message" || message["target"]["kind"][0] != "bin" {
            continue;
        }
        let said = said.entry(message["target"]["name"].as_str().unwrap().to_owned()).or_default();
        let diagnostic = &message["message"];
        said.rendered.push_str(diagnostic["rendered"].as_str().unwrap());
        if diagnostic["level"] == "error" {
            said.errors.push(diagnostic["message"].as_str().unwrap().to_owned());
        }
    }
    assert!(!said.is_empty(), "nothing was checked:\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

impl Said {
    fn agrees_with(&self, source: &str) -> Result<(), String> {
        let mut expected = source.lines().map_while(|line| line.strip_prefix("//~ "));
        let message = expected.next().ok_or("it does not begin with what is expected: `//~ …`")?;
        match self.errors.first() {
            None => return Err("there is no error".into()),
            Some(first) if first != message => {
                return Err(format!("the first error is `{first}`, not `{message}`"));
            }
            Some(_) => {}
        }
        match expected.find(|words| !self.rendered.contains(words)) {
            Some(words) => Err(format!("`{words}` is missing")),
            None => Ok(()),
        }
    }
}

#[test]
fn a_file_without_an_error_or_with_another_is_found() {
    let source = "//~ no timeout\n//~ add one\nfn main() {}";
    let said = |error: &str, rendered: &str| Said { errors: vec![error.into()], rendered: rendered.into() };
    assert!(said("no timeout", "error: no timeout\n  label: add one").agrees_with(source).is_ok());
    assert!(Said::default().agrees_with(source).is_err());
    assert!(said("unresolved import", "no timeout, add one").agrees_with(source).is_err());
    assert!(said("no timeout", "error: no timeout").agrees_with(source).is_err());
    assert!(said("no timeout", "add one").agrees_with("fn main() {}").is_err());
}
