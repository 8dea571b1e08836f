//! Cyclic redundancy checks.

/// CRC-32 of IEEE 802.3, as zlib has it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Crc32(u32);

impl Crc32 {
    pub(in super::super) const fn new() -> Self {
        Self(u32::MAX)
    }

    /// The check with more bytes.
    pub(in super::super) fn update(self, bytes: &[u8]) -> Self {
        let next = |crc: u32, &byte: &u8| TABLE_32[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
        Self(bytes.iter().fold(self.0, next))
    }

    pub(in super::super) const fn finish(self) -> u32 {
        !self.0
    }
}

/// The whole check: twemproxy's `crc32a`.
pub(in super::super) fn crc32a(key: &[u8]) -> u32 {
    Crc32::new().update(key).finish()
}

/// 15 bits of the check: twemproxy's and memcached clients' `crc32`.
pub(in super::super) fn crc32(key: &[u8]) -> u32 {
    crc32a(key) >> 16 & 0x7fff
}

/// CRC-16 (CCITT, from 0) in a register of 32 bits, whose upper half keeps what is shifted out of the lower.
pub(in super::super) fn crc16(key: &[u8]) -> u32 {
    let next = |crc: u32, &byte: &u8| crc << 8 ^ u32::from(TABLE_16[usize::from((crc >> 8) as u8 ^ byte)]);
    key.iter().fold(0, next)
}

const TABLE_32: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut crc, mut bit) = (n as u32, 0);
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

const TABLE_16: [u16; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut crc, mut bit) = ((n as u16) << 8, 0);
        while bit < 8 {
            crc = crc << 1 ^ if crc >> 15 == 1 { 0x1021 } else { 0 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_the_check_is_known() {
        assert_eq!([crc32a(b"123456789"), crc32(b"123456789")], [0xcbf4_3926, 0x4bf4]);
        assert_eq!(crc16(b"123456789") & 0xffff, 0x31c3);
    }
}
