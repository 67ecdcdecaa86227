//! The streams: recorded ones and mutations of them.

use std::path::Path;

/// Mutations of the recorded bytes, of requests and of responses each.
const MUTATIONS: usize = 20_000;

/// A stream, and whether it is a whole recorded one: of a beginning, as a mutation may be, the two sides may reach their verdicts
/// at different bytes.
pub struct Case {
    pub stream: Vec<u8>,
    pub is_whole: bool,
}

/// Every recorded stream, ended at every byte, and mutations of all.
pub fn prefixes_and_mutations(recorded: &[Vec<u8>]) -> impl Iterator<Item = Case> {
    let ends = |stream: &Vec<u8>| (0..=stream.len()).collect::<Vec<_>>();
    let prefixes = recorded.iter().flat_map(move |stream| {
        let case = |end| Case { stream: stream[..end].to_vec(), is_whole: end == stream.len() };
        ends(stream).into_iter().map(case)
    });
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mutations = (0..MUTATIONS).map(move |_| {
        let stream = mutate(recorded, &mut random);
        Case { stream, is_whole: false }
    });
    prefixes.chain(mutations)
}

pub fn recorded_requests() -> Vec<Vec<u8>> {
    let texts = ["heads.txt", "framing.txt"].map(|name| read_text(&format!("tests/cases/wire/{name}")));
    let lines = texts.iter().flat_map(|text| text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')));
    let recorded = lines.map(|line| unescape(line.splitn(3, " | ").nth(2).expect(line)));
    let own = REQUESTS.iter().map(|request| request.as_bytes().to_vec());
    let all: Vec<_> = recorded.chain(own).collect();
    assert!(all.len() > 150, "only {} requests were found", all.len());
    all
}

pub fn recorded_responses() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/answer");
    let mut seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    // Their first two bytes are choices of the fuzz target.
    let seeds = seeds.iter().map(|path| std::fs::read(path).unwrap()[2..].to_vec());
    seeds.chain(RESPONSES.iter().map(|response| response.as_bytes().to_vec())).collect()
}

fn read_text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The bytes of a case: `tests/cases/wire/README.md` says how they are written.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let escape = &rest[1..];
        rest = escape.get(1..).unwrap_or_default();
        match (next, escape.chars().next()) {
            ('\\', Some('r')) => bytes.push(b'\r'),
            ('\\', Some('n')) => bytes.push(b'\n'),
            ('\\', Some('t')) => bytes.push(b'\t'),
            ('\\', Some('s')) => bytes.push(b' '),
            ('\\', Some('\\')) => bytes.push(b'\\'),
            ('\\', Some('x')) => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            ('\\', Some('{')) => {
                let (repeat, after) = rest.split_once('}').unwrap();
                let (count, piece) = repeat.split_once('*').unwrap();
                bytes.extend(unescape(piece).repeat(count.parse().unwrap()));
                rest = after;
            }
            _ => {
                bytes.push(next as u8);
                rest = escape;
            }
        }
    }
    bytes
}

/// One to three changes of a recorded stream: a byte set, some taken out, some said twice, or an odd one put in.
fn mutate(recorded: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const ODD: [&[u8]; 10] = [b"\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b";", b"\r\n\r\n", b":", b","];
    let mut bytes = recorded[random.below(recorded.len())].clone();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(16)).min(bytes.len());
        match random.below(4) {
            0 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => drop(bytes.splice(at..at, ODD[random.below(ODD.len())].iter().copied())),
        }
    }
    bytes
}

/// xorshift64*: the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }
}

/// Requests that no other test has written down.
const REQUESTS: &[&str] = &[
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n1234567GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nxGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\nGET /c HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nokGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT /a?b#c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n000a;x\r\n0123456789\r\n0\r\nA: b\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5; a=b\r\nHello\r\n0;\ta = b ;c\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 ;a=b\r\nHello\r\n0\r\n\r\n",
];

/// Responses with every framing, and those in which readers are known to differ.
const RESPONSES: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP",
    "HTTP/1.1 200 OK\r\nContent-Length: 007\r\n\r\n1234567",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 200\r\nA: b\r\n\r\nuntil the end",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n1234567",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n3;a=b\r\n...\r\n0\r\nA: 1\r\nB: 2\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \t\r\nHello\r\n00000000000000000001 ; a = b\r\n!\r\n000 \r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 1\r\nx\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/2 200 OK\r\n\r\n",
];
