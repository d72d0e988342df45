//! Gzip: of answers, and of bombs.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

const MEBIBYTE: usize = 1 << 20;

/// A gzipped body.
pub(super) fn pack(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// So many mebibytes of blanks and then `tail`, gzipped to about a thousandth.
///
/// One mebibyte is compressed and its blocks, which a full flush makes stand alone, are repeated: no work to speak of,
/// also for bombs that nobody could hold in memory.
pub(super) fn bomb(mebibytes: usize, tail: &[u8]) -> io::Result<Vec<u8>> {
    let blanks = vec![b' '; MEBIBYTE];
    let block = deflate(&blanks, FlushCompress::Full)?;
    let mut crc = Crc::new();
    let mut one = Crc::new();
    one.update(&blanks);
    // Magic, deflate, no flags, no time, nothing said of speed, unknown system: RFC 1952.
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for _ in 0..mebibytes {
        packed.extend_from_slice(&block);
        crc.combine(&one);
    }
    packed.extend_from_slice(&deflate(tail, FlushCompress::Finish)?);
    crc.update(tail);
    packed.extend_from_slice(&crc.sum().to_le_bytes());
    packed.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(packed)
}

fn deflate(bytes: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::best(), false);
    // Enough for what cannot be compressed, so that one call does it.
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 1024);
    match compress.compress_vec(bytes, &mut out, flush)? {
        Status::Ok | Status::StreamEnd => Ok(out),
        Status::BufError => Err(io::ErrorKind::WriteZero.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let text = b"segments, segments, segments".repeat(100);
        let mut back = Vec::new();
        GzDecoder::new(&*pack(&text).unwrap()).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn a_bomb_is_small_and_unpacks_to_the_end() {
        let packed = bomb(3, b"{\"a\":1}").unwrap();
        assert!(packed.len() < 5 * 1024, "{}", packed.len());
        let mut back = Vec::new();
        GzDecoder::new(&*packed).read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), 3 * MEBIBYTE + 7);
        assert!(back.ends_with(b" {\"a\":1}") && back.iter().take(3 * MEBIBYTE).all(|&b| b == b' '));
    }
}
