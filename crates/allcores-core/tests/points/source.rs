//! The names of all points, as they stand in the source.

use std::path::Path;
use std::sync::OnceLock;

/// Points that no operation here can pass, and why.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "alloc.chunks: refused, given back",
        "the system refuses the memory of chunks that had some",
    ),
    ("alloc.chunks: refused, a HOLE", "as above"),
    ("alloc.chunks: refused, no intent", "as above"),
    (
        "alloc.take: put back, as the chunk is closed",
        "two processes meet between two instructions",
    ),
    (
        "condition.wait: not its lock, FREE",
        "wait() has looked before whose the lock is",
    ),
    (
        "ring.unblock: an orphan",
        "an item lies behind the head, and the hint that it does is lost",
    ),
];

/// Points that are passed now and then: of these nothing is asked.
pub const BY_CHANCE: &[(&str, &str)] = &[
    (
        "alloc.close: in use, count right",
        "a chunk's count is too high after a death while many blocks of others are free",
    ),
    ("alloc.close: in use, SMALL again", "as above"),
];

static NAMES: OnceLock<Vec<String>> = OnceLock::new();

/// All names, sorted.
pub fn names() -> &'static [String] {
    NAMES.get_or_init(|| {
        let mut names = Vec::new();
        gather(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut names,
        );
        names.sort_unstable();
        names
    })
}

/// The place of a name among [`names`].
pub fn number(name: &str) -> Option<usize> {
    let names = names();
    names
        .binary_search_by(|other| other.as_str().cmp(name))
        .ok()
}

fn gather(folder: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the source is there") {
        let path = entry.expect("the source is there").path();
        if path.is_dir() {
            gather(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).expect("source is text");
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let found = line.split("crash_point!(\"").skip(1);
                names.extend(found.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
}

/// What is wrong with the names themselves.
pub fn complaints() -> Vec<String> {
    let names = names();
    let twice = names
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| format!("two points have the name {:?}", pair[0]));
    let gone = ELSEWHERE
        .iter()
        .chain(BY_CHANCE)
        .filter(|(name, _)| number(name).is_none())
        .map(|(name, _)| format!("{name:?} is an exception, and no point"));
    twice.chain(gone).collect()
}
