//! Micro benches of the request line's decisions: reading a path, classifying it, passing the gate. They open no socket.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use ucs_gateway::gate::{Gate, Published};
use ucs_gateway::policy::analysis;
use ucs_gateway::policy::mode::{Mode, ModeRecord, ModeSet};
use ucs_gateway::policy::path::CanonicalPath;
use ucs_gateway::policy::table::{Class, Pattern, Route, RouteMethod, RouteTable, RouteTableParts, Unmatched};

/// Operations that each group of generated routes has.
const SHAPES: [(&str, &str); 7] = [
    ("POST", "/profiles"),
    ("GET", "/profiles/{id}"),
    ("PUT", "/profiles/{id}/extensions/{name}"),
    ("DELETE", "/profiles/{id}/extensions/{name}/by/unique/{key}"),
    ("GET", "/services/{id}/states/{state}/tasks"),
    ("POST", "/services/{id}/states/start"),
    ("GET", "/metadata/profiles/extensions/{name}"),
];

fn table(routes: usize, with_regex: bool) -> RouteTable {
    let mut listed: Vec<Route> = (0..routes)
        .map(|index| {
            let (method, shape) = SHAPES[index % SHAPES.len()];
            let template = format!("/tenant{}{shape}", index / SHAPES.len());
            route(method, Pattern::Template(template.into()), index)
        })
        .collect();
    if with_regex {
        let regex = "/interactions/[^/]+/(plain_text|structured_text|binary_content)";
        listed.insert(0, route("GET", Pattern::Regex(regex.into()), routes));
    }
    RouteTable::compile(RouteTableParts {
        base_path: "".into(),
        classes: vec![Class { name: "all".into(), modes: ModeSet::Both }],
        routes: listed,
        unmatched: Unmatched::NotFound,
        answers: Vec::new(),
    })
    .expect("the generated table compiles")
}

fn route(method: &str, pattern: Pattern, index: usize) -> Route {
    Route {
        operation: format!("Operation {index}").into(),
        id: None,
        method: RouteMethod::Only(method.into()),
        pattern,
        class: 0,
        modes: ModeSet::Both,
        answer: None,
        needs_profile_schema: false,
        line: 1,
    }
}

/// A small fixed sequence of scattered numbers (xorshift), so that runs are comparable.
fn scattered(count: usize) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0x2545_f491_4f6c_dd1d_u64), |previous| {
        let mut next = *previous;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        Some(next)
    })
    .take(count)
}

/// Requests to random routes, with a random identifier for every parameter.
fn requests(routes: usize) -> Vec<(&'static str, String)> {
    scattered(4096)
        .map(|number| {
            let index = (number >> 20) as usize % routes;
            let (method, shape) = SHAPES[index % SHAPES.len()];
            let fill = |segment: &str| match segment.starts_with('{') {
                true => format!("{:x}", number & 0xffff_ffff_ffff),
                false => segment.to_owned(),
            };
            let path: Vec<String> = shape.split('/').map(fill).collect();
            (method, format!("/tenant{}{}", index / SHAPES.len(), path.join("/")))
        })
        .collect()
}

fn canonical_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    for (name, path) in [
        ("plain, 40 bytes", "/profiles/000a5B1kC2xY/extensions/Gold1"),
        ("escaped", "/profiles/caf%c3%a9%20noir/extensions/Gold1"),
        ("refused", "/metadata/..%2fprofiles/000a5B1kC2xY/abc"),
    ] {
        group.throughput(Throughput::Bytes(path.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| CanonicalPath::parse(black_box(path.as_bytes())).is_ok()));
    }
}

fn classify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classify");
    for (routes, with_regex) in [(70, false), (70, true), (1_000, false), (10_000, false), (10_000, true)] {
        let table = table(routes, with_regex);
        let requests = requests(routes);
        let paths: Vec<_> = requests
            .iter()
            .map(|(method, path)| {
                (*method, CanonicalPath::parse(path.as_bytes()).expect("generated paths are canonical"))
            })
            .collect();
        let name = format!("{routes} routes{}", if with_regex { " and a regex" } else { "" });
        let mut at = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = (at + 1) % paths.len();
                let (method, path) = &paths[at];
                table.classify(black_box(method), black_box(path)).expect("every request has a route")
            })
        });
    }
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    group.sample_size(10);
    group.bench_function("compile 10,000 routes", |bencher| {
        bencher.iter_batched(|| (), |()| table(10_000, true), BatchSize::PerIteration)
    });
    let large = table(3_000, true);
    group.bench_function("unreachable, 3,000 routes", |bencher| bencher.iter(|| analysis::unreachable(&large)));
}

/// One worker, nobody else: what each request pays for being counted.
fn gate(criterion: &mut Criterion) {
    let gate = Gate::new(1, table(70, false));
    let record = ModeRecord::first(Mode::Production, 1, "bench", Timestamp::now());
    gate.publish(Published::of(record));
    let worker = gate.worker_gate(0);
    let table = worker.table();
    criterion.bench_function("gate/enter and drop the permit", |bencher| {
        bencher.iter(|| worker.enter(&table, black_box(Some(7))).is_ok());
    });
}

criterion_group!(benches, canonical_path, classify, gate, compile);
criterion_main!(benches);
