//! Field sections of HTTP/2 (RFC 7541): written as literals, read whatever a server sends to a client that has set its dynamic
//! table to nothing.

use std::sync::OnceLock;

/// The lengths of the Huffman codes of all 256 bytes, as letters from `a` for 5 bits; the codes follow from their order.
const CODE_LENGTHS: &[u8; 256] =
    b"isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhfibccccccccccccccccccccccdcdioijbkabababbbaccbbba\
bcbaabccccckgjixprpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrsvvporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruut\
tvsvwvvwwwwwxwwwwwv";

/// The static table from index 15 on: names. Those before are pseudo fields.
const NAMES: &str = "accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin age \
allow authorization cache-control content-disposition content-encoding content-language content-length content-location \
content-range content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range \
if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range referer refresh \
retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate";

/// The first fourteen.
const PSEUDO: [(&str, &str); 14] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
];

/// A field section: each field a literal that is never indexed.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name.as_ref(), value.as_ref()] {
            write_number(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

fn write_number(block: &mut Vec<u8>, mut number: usize) {
    if number < 0x7f {
        return block.push(number as u8);
    }
    block.push(0x7f);
    number -= 0x7f;
    while number >= 0x80 {
        block.push(number as u8 | 0x80);
        number >>= 7;
    }
    block.push(number as u8);
}

/// The fields of a section; panics if it refers to a dynamic table.
pub fn decode(mut block: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while let Some(&first) = block.first() {
        match first {
            0x80.. => {
                let index = read_number(&mut block, 7);
                fields.push((name_of(index), value_of(index)));
            }
            0x40..0x80 => fields.push(literal(&mut block, 6)),
            // A new size of the dynamic table.
            0x20..0x40 => drop(read_number(&mut block, 5)),
            _ => fields.push(literal(&mut block, 4)),
        }
    }
    fields
}

fn literal(block: &mut &[u8], bits: u32) -> (String, String) {
    let index = read_number(block, bits);
    let name = if index == 0 { read_text(block) } else { name_of(index) };
    (name, read_text(block))
}

fn name_of(index: usize) -> String {
    let known = match index {
        1..=14 => PSEUDO[index - 1].0,
        _ => NAMES.split(' ').nth(index - 15).unwrap_or_else(|| panic!("no static field {index}")),
    };
    known.to_owned()
}

fn value_of(index: usize) -> String {
    match index {
        1..=14 => PSEUDO[index - 1].1.to_owned(),
        16 => "gzip, deflate".to_owned(),
        _ => String::new(),
    }
}

fn read_number(block: &mut &[u8], bits: u32) -> usize {
    let most = (1_usize << bits) - 1;
    let mut next = || {
        let (first, rest) = block.split_first().expect("a field section ends too early");
        *block = rest;
        usize::from(*first)
    };
    let mut number = next() & most;
    if number < most {
        return number;
    }
    for shift in (0..).step_by(7) {
        let byte = next();
        number += (byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

fn read_text(block: &mut &[u8]) -> String {
    let is_coded = block[0] & 0x80 != 0;
    let length = read_number(block, 7);
    let (text, rest) = block.split_at(length);
    *block = rest;
    let text = if is_coded { unpack(text) } else { text.to_vec() };
    String::from_utf8(text).unwrap()
}

/// The symbols by code length, each with the first code of that length.
fn codes() -> &'static [(u64, Vec<u8>); 31] {
    static CODES: OnceLock<[(u64, Vec<u8>); 31]> = OnceLock::new();
    CODES.get_or_init(|| {
        let mut code = 0;
        std::array::from_fn(|length| {
            let is_so_long = |byte: &u8| usize::from(CODE_LENGTHS[usize::from(*byte)] - b'a') + 5 == length;
            let symbols: Vec<u8> = (0..=u8::MAX).filter(is_so_long).collect();
            code <<= 1;
            let first = code;
            code += symbols.len() as u64;
            (first, symbols)
        })
    })
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let (mut text, mut code, mut length) = (Vec::new(), 0_u64, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        code = code << 1 | u64::from(bit);
        length += 1;
        let Some((first, symbols)) = codes().get(length) else { panic!("no Huffman code: {bytes:?}") };
        if let Some(symbol) = code.checked_sub(*first).and_then(|place| symbols.get(place as usize)) {
            text.push(*symbol);
            (code, length) = (0, 0);
        }
    }
    text
}

#[test]
fn field_sections_are_read_as_the_standard_shows_them() {
    // RFC 7541, C.6.1, without what it adds to the dynamic table.
    let block = [
        &[0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b, 0x61, 0x96, 0xd0, 0x7a, 0xbe, 0x94, 0x10][..],
        &[0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff],
    ];
    let fields = decode(&block.concat());
    let expected = [(":status", "302"), ("cache-control", "private"), ("date", "Mon, 21 Oct 2013 20:13:21 GMT")];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let long = "y".repeat(300);
    assert_eq!(decode(&encode(&[("x", &long)])), [("x".to_owned(), long)]);
}
