//! The shape of single items, read from their tokens: the parameters of each function, and the types of `impl` blocks.

use super::graph::tokens_of;

/// Every function of the code by its name, with the number of its parameters.
pub fn parameters(code: &str) -> Vec<(String, usize)> {
    let tokens = tokens_of(code);
    let names = (1..tokens.len()).filter(|at| tokens[at - 1] == "fn" && is_name(tokens[*at]));
    names.map(|at| (tokens[at].to_owned(), count(&tokens[after_generics(&tokens, at + 1)..]))).collect()
}

/// The type of each `impl` block of the code.
pub fn implemented_types(code: &str) -> Vec<String> {
    let lines = code.lines().filter(|line| line.starts_with("impl"));
    let types = lines.filter_map(|line| {
        let tokens = tokens_of(line);
        let at = after_generics(&tokens, 1);
        let at = tokens.iter().position(|token| *token == "for").map_or(at, |at| at + 1);
        // The last name of the path.
        let path = tokens[at..].iter().take_while(|token| is_name(token) || **token == "::");
        path.last().map(|name| (*name).to_owned())
    });
    types.collect()
}

/// The position behind `<…>`, if there is one.
fn after_generics(tokens: &[&str], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        depth += angle(tokens, at);
        if depth == 0 && tokens[at] != ">" {
            break;
        }
        at += 1;
    }
    at
}

/// The parameters of a list that begins with its parenthesis.
fn count(tokens: &[&str]) -> usize {
    let (mut depth, mut angles, mut count, mut is_empty) = (0, 0, 0, true);
    for at in 0..tokens.len() {
        match tokens[at] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            "," if depth == 1 && angles == 0 => {
                count += 1;
                is_empty = true;
                continue;
            }
            _ => angles += angle(tokens, at),
        }
        if depth == 0 {
            break;
        }
        is_empty &= at == 0;
    }
    if is_empty { count } else { count + 1 }
}

/// 1 for an opening and -1 for a closing angle bracket; an arrow is none.
fn angle(tokens: &[&str], at: usize) -> i32 {
    match tokens[at] {
        "<" => 1,
        ">" if at == 0 || tokens[at - 1] != "-" => -1,
        _ => 0,
    }
}

fn is_name(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[test]
fn the_reader_counts_as_a_person_does() {
    let code =
        "fn a() {} fn b<T: Fn(u8, u8) -> u8>(&self, x: HashMap<u8, u8>, y: [u8; 2],) {} fn c(f: impl Fn(u8, u8)) {}";
    assert_eq!(parameters(code), [("a".to_owned(), 0), ("b".to_owned(), 3), ("c".to_owned(), 1)]);
    let code = "impl A {\n}\nimpl<T: B<u8>> fmt::Display for c::D<T> {\n}\nimplicit";
    assert_eq!(implemented_types(code), ["A", "D"]);
}
