//! Globs: `*` stands for any characters, `?` for one.

/// Whether a glob matches the whole of a name.
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(character) if *character == '?' || *character == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    at = star_at + 1;
                    seen = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|character| *character == '*')
}
