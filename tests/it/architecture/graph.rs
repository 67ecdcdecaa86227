//! Which file uses which: every `use` and every path of the sources, resolved to the file that defines the name. Re-exports are
//! followed to their origin, so a folder's `mod.rs` that only lists its parts ties nothing together.

use std::collections::{BTreeMap, BTreeSet};

/// The files as nodes, the uses between them as arrows.
pub struct Graph {
    arrows: BTreeMap<String, BTreeSet<String>>,
}

/// A module's path from the crate's root.
type Path = Vec<String>;

/// One source file, read.
struct File {
    name: String,
    module: Path,
    /// Every name that a `use` brings in, with its path from the root, and whether it is a re-export.
    imports: Vec<Import>,
    /// The other paths, from the root as far as that can be told.
    paths: Vec<Path>,
}

struct Import {
    name: String,
    path: Path,
    is_public: bool,
}

impl Graph {
    /// Reads the sources: names relative to `src/`, with `/`, and their texts.
    pub fn read(sources: &[(String, String)]) -> Graph {
        let modules: BTreeMap<Path, String> = sources
            .iter()
            .map(|(name, _)| (module_of(name), name.clone()))
            .filter(|(_, name)| name != "main.rs")
            .collect();
        let files: Vec<File> = sources.iter().map(|(name, text)| File::read(name, code_of(text), &modules)).collect();
        let exports = exports_of(&files);
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in &files {
            let used = file.used().filter_map(|path| origin(path, &modules, &exports));
            let others = used.filter(|other| *other != file.name && *other != "lib.rs");
            arrows.entry(file.name.clone()).or_default().extend(others);
        }
        Graph { arrows }
    }

    /// Every use of one file by another: (user, used).
    pub fn arrows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.arrows.iter().flat_map(|(from, all)| all.iter().map(|to| (from.as_str(), to.as_str())))
    }

    /// The largest groups of files in which each can be reached from each other one.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let mut circles = BTreeSet::new();
        for file in self.arrows.keys() {
            let beyond = self.reachable(file);
            let circle: Vec<&str> =
                beyond.iter().copied().filter(|other| self.reachable(other).contains(file.as_str())).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    /// The files that can be reached from `file`, itself only through others.
    fn reachable(&self, file: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![file];
        while let Some(next) = open.pop() {
            for other in self.arrows.get(next).into_iter().flatten() {
                if found.insert(other.as_str()) {
                    open.push(other);
                }
            }
        }
        found
    }
}

impl File {
    fn read(name: &str, code: &str, modules: &BTreeMap<Path, String>) -> File {
        let module = module_of(name);
        let tokens = tokens_of(code);
        let mut file = File { name: name.to_owned(), module, imports: Vec::new(), paths: Vec::new() };
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at] == "use" {
                let is_public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                at = file.read_use(&tokens, at + 1, &mut Vec::new(), is_public, modules);
            } else {
                at += 1;
            }
        }
        file.read_paths(&tokens, modules);
        file
    }

    /// One tree of a `use`; returns the position behind it.
    fn read_use(
        &mut self,
        tokens: &[&str],
        mut at: usize,
        prefix: &mut Path,
        is_public: bool,
        modules: &BTreeMap<Path, String>,
    ) -> usize {
        let depth = prefix.len();
        while at < tokens.len() {
            match tokens[at] {
                "{" => loop {
                    at = self.read_use(tokens, at + 1, prefix, is_public, modules);
                    if tokens.get(at) != Some(&",") {
                        at += 1;
                        break;
                    }
                },
                "::" => at += 1,
                "as" => at += 2,
                "," | "}" | ";" => break,
                name => {
                    prefix.push(name.to_owned());
                    at += 1;
                }
            }
        }
        if prefix.len() > depth && tokens.get(at.wrapping_sub(1)) != Some(&"}") {
            let name =
                if tokens[at - 2] == "as" { tokens[at - 1].to_owned() } else { prefix[prefix.len() - 1].clone() };
            let mut path = prefix.clone();
            if path.last().is_some_and(|last| last == "self" || last == "*") && path.len() > 1 {
                path.pop();
            }
            if let Some(path) = self.whole_path(&path, modules) {
                self.imports.push(Import { name, path, is_public });
            }
        }
        prefix.truncate(depth);
        at
    }

    /// Paths outside of `use`: those that begin with `crate`, `self`, `super`, a module of this file, or an imported name.
    fn read_paths(&mut self, tokens: &[&str], modules: &BTreeMap<Path, String>) {
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at] == "use" {
                while at < tokens.len() && tokens[at] != ";" {
                    at += 1;
                }
            }
            let mut path = Vec::new();
            while at < tokens.len() && is_name(tokens[at]) {
                path.push(tokens[at].to_owned());
                at += 1;
                if tokens.get(at) != Some(&"::") || tokens.get(at + 1).is_none_or(|next| !is_name(next)) {
                    break;
                }
                at += 1;
            }
            if path.len() > 1 {
                let imported = self.imports.iter().find(|import| import.name == path[0]);
                let whole = match imported {
                    Some(import) => Some(import.path.iter().cloned().chain(path[1..].iter().cloned()).collect()),
                    None => self.whole_path(&path, modules),
                };
                self.paths.extend(whole);
            }
            // The token behind a path may be a `use`, which must not be skipped.
            if path.is_empty() {
                at += 1;
            }
        }
    }

    /// The path from the crate's root; `None` for other crates.
    fn whole_path(&self, path: &[String], modules: &BTreeMap<Path, String>) -> Option<Path> {
        let mut base = self.module.clone();
        let mut rest = path;
        match path[0].as_str() {
            "crate" | "ucs_gateway" => {
                base.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                let below: Path = base.iter().cloned().chain([child.to_owned()]).collect();
                if !modules.contains_key(&below) {
                    return None;
                }
            }
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    /// Everything that the file uses. A re-export of its own parts is a list of these, not a use.
    fn used(&self) -> impl Iterator<Item = &Path> {
        let is_own_part = |import: &&Import| import.is_public && import.path.starts_with(&self.module);
        self.imports.iter().filter(move |import| !is_own_part(import)).map(|import| &import.path).chain(&self.paths)
    }
}

/// Re-exported names: (module, name) to the path that is meant.
fn exports_of(files: &[File]) -> BTreeMap<(Path, String), Path> {
    let public = |file: &File| -> Vec<((Path, String), Path)> {
        let imports = file.imports.iter().filter(|import| import.is_public);
        imports.map(|import| ((file.module.clone(), import.name.clone()), import.path.clone())).collect()
    };
    files.iter().flat_map(public).collect()
}

/// The file that defines what a path names.
fn origin(path: &Path, modules: &BTreeMap<Path, String>, exports: &BTreeMap<(Path, String), Path>) -> Option<String> {
    let mut path = path.clone();
    for _ in 0..8 {
        let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        match rest.first().and_then(|name| exports.get(&(module.to_vec(), name.clone()))) {
            Some(meant) => path = meant.iter().chain(&rest[1..]).cloned().collect(),
            None => return modules.get(module).cloned(),
        }
    }
    None
}

/// `a/b.rs` and `a/b/mod.rs` are both `a::b`; `lib.rs` and `main.rs` are the root.
fn module_of(name: &str) -> Path {
    let stem = name.trim_end_matches(".rs");
    let mut path: Path = stem.split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod") || stem == "lib" || stem == "main" {
        path.pop();
    }
    path
}

/// The text without its inline tests, which may use what they like.
pub fn code_of(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// Names and the punctuation that paths are made of; comments, strings and all else are left out.
pub fn tokens_of(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &code[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if bytes[at] == b'"' {
            string_length(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("b'\"'") || rest.starts_with("'\\''") {
            4.min(rest.len())
        } else if is_name_byte(bytes[at]) {
            let length = rest.bytes().take_while(|byte| is_name_byte(*byte)).count();
            tokens.push(&rest[..length]);
            length
        } else if rest.starts_with("::") {
            tokens.push(&rest[..2]);
            2
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            if !rest[..length].trim().is_empty() {
                tokens.push(&rest[..length]);
            }
            length
        };
        at += length.max(1);
    }
    tokens
}

/// The bytes of a string literal, from its first quotation mark to its last.
fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_name(token: &str) -> bool {
    token.bytes().next().is_some_and(is_name_byte)
}
