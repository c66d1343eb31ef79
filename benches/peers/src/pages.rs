//! Where the numbers are written down.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Replaces what stands between the marks `<!-- name -->` and `<!-- /name -->` of a file of the repository.
///
/// # Errors
///
/// When the file cannot be read or written, or has no such marks.
pub fn replace(file: &str, name: &str, text: &str) -> io::Result<()> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let old = fs::read_to_string(&path)?;
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let marked = old.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?.1)));
    let Some((head, tail)) = marked else {
        return Err(io::Error::other(format!("{file} has no {begin} … {end}")));
    };
    fs::write(path, format!("{head}{begin}\n{}\n{end}{tail}", text.trim_end()))
}
