//! The analysis against a search over all paths of a small alphabet.

use proptest::prelude::*;

use super::paths::Paths;
use super::*;
use crate::policy::mode::ModeSet;
use crate::policy::path::CanonicalPath;
use crate::policy::table::tests::compile;

fn unreachable_in(routes: &[(&str, &str)]) -> Vec<(RouteIndex, Vec<RouteIndex>)> {
    let found = unreachable(&compile("/base", routes).unwrap());
    assert_eq!(found.cut_short, None);
    found.list.into_iter().map(|unreachable| (unreachable.route, unreachable.shadowed_by)).collect()
}

#[test]
fn a_route_is_unreachable_when_earlier_ones_take_all() {
    assert_eq!(unreachable_in(&[("GET", "/a/{x}"), ("GET", "/a/b"), ("POST", "/a/b")]), [(1, vec![0])]);
    assert_eq!(unreachable_in(&[("*", "/{x}"), ("GET", "/a"), ("GET", "/a/b")]), [(1, vec![0])]);
    assert_eq!(unreachable_in(&[("GET", "/a"), ("*", "/a"), ("HEAD", "/a")]), [(2, vec![0])]);
    assert_eq!(unreachable_in(&[("GET", "/a"), ("GET", "re:/b"), ("GET", "re:/(a|b)")]), [(2, vec![0, 1])]);
    assert_eq!(unreachable_in(&[("GET", "re:/[^.x].*"), ("GET", "re:/[.x].*"), ("GET", "/{x}")]), [(2, vec![0, 1])]);
    assert_eq!(unreachable_in(&[("GET", "re:/[^.].*"), ("GET", "/{x}")]), []);
    assert_eq!(unreachable_in(&[("GET", "re:no-slash"), ("GET", "re:/a//b"), ("GET", r"re:/\.\.")]).len(), 3);
}

#[test]
fn overlaps_come_with_a_path() {
    let mut table =
        compile("/base", &[("GET", "/a/b"), ("GET", "/a/{x}"), ("POST", "/{x}/b"), ("*", "re:/a/b+")]).unwrap();
    assert_eq!(overlaps(&table).list, []);
    table.routes[1].modes = ModeSet::Production;
    let found: Vec<_> =
        overlaps(&table).list.into_iter().map(|found| (found.first, found.second, found.example_path)).collect();
    let path = || "/base/a/b".to_owned();
    assert_eq!(found, [(0, 1, path()), (1, 3, path())]);
}

#[test]
fn a_difference_is_reported_once_for_each_pair_of_routes() {
    let old = compile("", &[("GET", "/a/{x}"), ("*", "/b")]).unwrap();
    let mut new = compile("", &[("GET", "re:/a/(c|d)"), ("GET", "/a/{x}"), ("*", "/b")]).unwrap();
    assert_eq!(diff(&old, &new).list, []);
    new.routes[0].modes = ModeSet::Maintenance;
    let found = diff(&old, &new).list;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].method.as_str(), found[0].example_path.as_str()), ("GET", "/a/c"));
    let moved = compile("/base", &[("GET", "/a/{x}"), ("*", "/b")]).unwrap();
    let paths: Vec<_> = diff(&old, &moved).list.into_iter().map(|found| found.example_path).collect();
    assert_eq!(paths, ["/b", "/a/x", "/base/b", "/base/a/x"]);
}

#[test]
fn tables_of_the_same_paths_are_compared_although_the_search_is_cut_short() {
    let path = |at: usize| (0..16).map(move |n| if n == at { "/x" } else { "/{p}" }).collect::<String>();
    let paths: Vec<String> = (0..16).map(path).collect();
    let routes: Vec<_> = paths.iter().map(|path| ("GET", path.as_str())).collect();
    let old = compile("", &routes).unwrap();
    assert!(overlaps(&old).cut_short.is_some());
    let mut new = compile("", &routes).unwrap();
    new.routes.iter_mut().for_each(|route| route.modes = ModeSet::Maintenance);
    let found = diff(&old, &new);
    assert_eq!((found.list.len(), found.cut_short), (16, None));
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/a", "/b", "/x", "/{p}"])
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["/a", "/b", "/[^/]+", "/(a|x)", "(/[ab]+)*", "/[^a]", "/"]);
    prop_oneof![
        3 => prop::collection::vec(segment(), 1..4).prop_map(|segments| segments.concat()),
        2 => prop::collection::vec(piece, 1..4).prop_map(|pieces| format!("re:{}", pieces.concat())),
    ]
}

fn table() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    prop::collection::vec((prop::sample::select(vec!["*", "GET", "HEAD"]), pattern()), 1..7)
}

/// Every path of up to four segments over an alphabet that tells all of the patterns above apart.
fn all_paths() -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut all = vec!["/".to_owned()];
    for _ in 0..4 {
        let longer = |path: &String| ["a", "b", "x", "ab", "y", "yy"].map(|segment| format!("{path}/{segment}"));
        paths = paths.iter().flat_map(longer).collect();
        all.extend(paths.iter().flat_map(|path| [path.clone(), format!("{path}/")]));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn unreachable_is_what_no_path_reaches(routes in table()) {
        let routes: Vec<_> = routes.iter().map(|(method, pattern)| (*method, pattern.as_str())).collect();
        let table = compile("", &routes).unwrap();
        let mut reached = vec![false; routes.len()];
        for path in all_paths() {
            let path = CanonicalPath::parse(path.as_bytes()).unwrap();
            for method in ["GET", "HEAD", "POST"] {
                if let Some(route) = table.classify(method, &path) {
                    reached[route as usize] = true;
                }
            }
        }
        let expected: Vec<RouteIndex> = (0..).zip(&reached).filter(|(_, reached)| !**reached).map(|(at, _)| at).collect();
        let found: Vec<RouteIndex> = unreachable(&table).list.iter().map(|found| found.route).collect();
        prop_assert_eq!(found, expected, "{:?}", routes);
    }

    #[test]
    fn the_shape_is_that_of_canonical_paths(
        pieces in prop::collection::vec(
            prop_oneof!["[a-z.~;#]", Just("/".to_owned()), "%[2-7][0-9A-F]", "%25[235][0-9BCEFbcef]", any::<char>().prop_map(|c| {
                c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
            }), "%[89A-F][0-9A-F]"],
            0..8,
        ),
    ) {
        let path = format!("/{}", pieces.concat());
        let paths = Paths::new(&[]).unwrap();
        let shaped = paths.matching(paths.after(paths.start(), path.as_bytes())).is_some();
        let canonical = CanonicalPath::parse(path.as_bytes()).is_ok_and(|parsed| parsed.as_str() == path);
        prop_assert_eq!(shaped, canonical, "{}", path);
    }
}
