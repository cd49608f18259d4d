//! No files use each other in a circle.
//!
//! A file uses another if its code names something that the other defines. Re-exports are followed to the file with the
//! definition, so a parent that only declares and re-exports its parts uses none of them. A file and the files below it
//! are one idea to the rest: that a part uses what its parents define is the usual form, and is not counted. All other
//! uses are: between siblings, between modules, and from a parent to its parts. What only tests have is left out.
//!
//! Calls of methods name no file. An idea that is spread over files as methods of one type has the type in the lowest.

use std::collections::{BTreeMap, BTreeSet};

use super::source::code;

/// A file's place in the tree of modules: the package, then the names.
type Module = Vec<String>;

/// The modules and uses of a file.
#[derive(Default)]
struct File {
    /// The names that it imports, and what they are.
    imports: BTreeMap<String, Module>,
    /// The names that others can import from it although it does not define them.
    reexports: BTreeMap<String, Module>,
    /// The modules that it uses, as they are spelled from the root.
    used: BTreeSet<Module>,
}

/// The packages, by the directory of their sources.
const PACKAGES: [(&str, &str); 2] = [("crates/hotlist-core/src/", "hotlist_core"), ("src/", "hotlist")];

fn module_of(path: &str) -> Option<Module> {
    let (directory, package) = PACKAGES.iter().find(|(directory, _)| path.starts_with(directory))?;
    let names = path.strip_prefix(directory)?.strip_suffix(".rs")?;
    let names = names.split('/').filter(|name| *name != "lib").map(str::to_owned);
    Some(std::iter::once((*package).to_owned()).chain(names).collect())
}

/// The declarations `use …;` of a code with whether they are public, and the code without them.
fn split_uses(code: &str) -> (Vec<(bool, &str)>, String) {
    let declaration = regex::Regex::new(r"(?m)(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);").unwrap();
    let uses = declaration.captures_iter(code).map(|found| (found.get(1).is_some(), found.get(2).unwrap().as_str()));
    (uses.collect(), declaration.replace_all(code, "").into_owned())
}

/// The paths in a tree of imports, each with the name that it gets.
fn flatten(tree: &str, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
        let mut names = before.to_vec();
        names.extend(path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        if names.last().is_some_and(|name| name == "self") {
            names.pop();
        }
        let name = alias.or(names.last().map(String::as_str)).unwrap_or_default().to_owned();
        return found.push((names, name));
    };
    let mut names = before.to_vec();
    names.extend(prefix.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    flatten(&group[start..at], &names, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// A path in a file as it is spelled from the root; `None` if it leads to another package.
fn absolute(
    path: &[String],
    file: &Module,
    imports: &BTreeMap<String, Module>,
    is_module: impl Fn(&Module) -> bool,
) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let supers = path.iter().take_while(|name| *name == "super").count();
    let child = [&file[..], std::slice::from_ref(first)].concat();
    let (base, rest) = match first.as_str() {
        "crate" => (vec![file[0].clone()], rest),
        "hotlist" | "hotlist_core" => (vec![first.clone()], rest),
        "self" => (file.clone(), rest),
        "super" => (file[..file.len().checked_sub(supers)?].to_vec(), &path[supers..]),
        _ if is_module(&child) => (child, rest),
        name => (imports.get(name)?.clone(), rest),
    };
    Some([&base[..], rest].concat())
}

/// The files that are compiled, by module: those that are declared from the roots by what is not a test.
fn files(sources: Vec<(String, String)>) -> BTreeMap<Module, File> {
    let codes: BTreeMap<Module, String> =
        sources.into_iter().filter_map(|(path, text)| Some((module_of(&path)?, code(&text)))).collect();
    let declaration = regex::Regex::new(r"\bmod (\w+);").unwrap();
    let mut open: Vec<Module> =
        codes.keys().filter(|module| module.len() == 1 || module[1..] == ["main"]).cloned().collect();
    let mut declared = BTreeSet::new();
    while let Some(module) = open.pop() {
        for name in declaration.captures_iter(&codes[&module]) {
            let child = [&module[..], &[name[1].to_owned()]].concat();
            open.extend(codes.contains_key(&child).then_some(child));
        }
        declared.insert(module);
    }
    let path = regex::Regex::new(r"\b[a-z_]\w*(?:::\w+)+").unwrap();
    let is_module = |module: &Module| declared.contains(module);
    let read = |module: &Module| {
        let mut file = File::default();
        let (uses, body) = split_uses(&codes[module]);
        for (is_public, tree) in uses {
            let mut paths = Vec::new();
            flatten(&tree.split_whitespace().collect::<Vec<_>>().join(" "), &[], &mut paths);
            for (path, name) in paths {
                let Some(target) = absolute(&path, module, &BTreeMap::new(), is_module) else { continue };
                // To re-export what its parts define is not to use it.
                let is_named = super::words(&body, &name).next().is_some();
                if !is_public || is_named || !target.starts_with(module) {
                    file.used.insert(target.clone());
                }
                if is_public {
                    file.reexports.insert(name.clone(), target.clone());
                }
                file.imports.insert(name, target);
            }
        }
        for found in path.find_iter(&body) {
            let path: Vec<String> = found.as_str().split("::").map(str::to_owned).collect();
            file.used.extend(absolute(&path, module, &file.imports, is_module));
        }
        file
    };
    declared.iter().map(|module| (module.clone(), read(module))).collect()
}

/// The module with the definition that a path leads to, by way of re-exports.
fn owner(path: &Module, files: &BTreeMap<Module, File>) -> Option<Module> {
    let mut path = path.clone();
    // Re-exports of re-exports come to an end.
    for _ in 0..16 {
        let len = (1..=path.len()).rev().find(|len| files.contains_key(&path[..*len]))?;
        let (module, rest) = path.split_at(len);
        let Some((name, below)) = rest.split_first() else { return Some(path) };
        match files[module].reexports.get(name) {
            Some(target) => path = [&target[..], below].concat(),
            None => return Some(module.to_vec()),
        }
    }
    None
}

/// The uses that count, from file to file.
fn graph(files: &BTreeMap<Module, File>) -> BTreeMap<&Module, BTreeSet<Module>> {
    let used = |(module, file): (&Module, &File)| {
        let owners = file.used.iter().filter_map(|path| owner(path, files));
        owners.filter(|owner| !module.starts_with(owner)).collect()
    };
    files.iter().map(|entry| (entry.0, used(entry))).collect()
}

/// The files from which a use leads back to themselves, each with the uses that are on such a way.
fn circles(files: &BTreeMap<Module, File>) -> Vec<String> {
    let graph = graph(files);
    let reached = |from: &Module| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = open.pop() {
            open.extend(graph[&module].iter().filter(|used| reached.insert((*used).clone())).cloned());
        }
        reached
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = graph.keys().map(|module| (*module, reached(module))).collect();
    let uses = graph.iter().flat_map(|(module, used)| used.iter().map(|used| (*module, used)));
    uses.filter(|(module, used)| reached[used].contains(*module))
        .map(|(module, used)| format!("{} uses {}", module.join("::"), used.join("::")))
        .collect()
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let files = files(super::sources());
    let uses: usize = graph(&files).values().map(BTreeSet::len).sum();
    assert!(files.len() > 400 && uses > 1500, "{} files with {uses} uses were found", files.len());
    super::assert_none("move what both need to the file that owns it", circles(&files));
}

/// The circles of files with these texts.
fn circles_of(sources: &[(&str, &str)]) -> Vec<String> {
    circles(&files(sources.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()))
}

/// Guarantee: a circle is found at any depth, through re-exports, groups and other names, and over several files.
#[test]
fn a_circle_is_found() {
    let lib = ("src/lib.rs", "pub mod a; mod d;");
    let a = ("src/a.rs", "mod b;\nmod c;\npub use b::B;\npub use self::c::{C, other as D};");
    let b = ("src/a/b.rs", "use super::{D, x::Y}; pub struct B(D);");
    let found = circles_of(&[lib, a, b, ("src/a/c.rs", "pub struct C(super::B); pub fn other() {}")]);
    assert_eq!(found, ["hotlist::a::b uses hotlist::a::c", "hotlist::a::c uses hotlist::a::b"]);
    let c = ("src/a/c.rs", "use crate::d as e; pub struct C(e::E); pub fn other() {}");
    let found = circles_of(&[lib, a, b, c, ("src/d.rs", "use super::a::{self}; pub struct E(a::B);")]);
    assert_eq!(found.len(), 3, "{found:?}");
    // A part uses its parent, and the parent what uses the part.
    let core = ("crates/hotlist-core/src/lib.rs", "pub mod f; mod g;");
    let f = ("crates/hotlist-core/src/f.rs", "mod h; use crate::g::G; pub struct F(h::H, G);");
    let h = ("crates/hotlist-core/src/f/h.rs", "use super::F; pub struct H(Box<F>);");
    assert!(circles_of(&[core, f, h, ("crates/hotlist-core/src/g.rs", "pub struct G;")]).is_empty());
    let g = ("crates/hotlist-core/src/g.rs", "pub struct G(crate::f::F);");
    assert_eq!(circles_of(&[core, f, h, g]).len(), 2);
}

/// Guarantee: a parent that only re-exports its parts, what only tests have, and names in texts are no uses.
#[test]
fn what_is_no_use_is_left_out() {
    let lib = ("src/lib.rs", "mod a;");
    let a = ("src/a.rs", "mod b; mod c; #[cfg(test)] mod tests; pub(crate) use b::{B, C as D}; pub struct A;");
    let b = (
        "src/a/b.rs",
        "use super::A; pub struct B(A); #[cfg(test)] use super::c::C; // super::c::C\n#[cfg(test)]\nmod tests { use super::super::c; }",
    );
    let c = ("src/a/c.rs", "use super::B; pub struct C(B);");
    let tests = ("src/a/tests.rs", "use super::c::C;");
    assert!(circles_of(&[lib, a, b, c, tests]).is_empty());
}
