//! The stream cipher of SASL DIGEST-MD5's privacy (RFC 2831), the one that each
//! of Hadoop's servers offers. It is weak by today's measure and used for
//! nothing else.

pub struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Rc4 {
    /// The key has at least a byte.
    pub fn new(key: &[u8]) -> Self {
        let mut state = [0; 256];
        for (index, value) in (0..=u8::MAX).zip(&mut state) {
            *value = index;
        }
        let mut j = 0_u8;
        for (i, byte) in (0..256).zip(key.iter().cycle()) {
            j = j.wrapping_add(state[i]).wrapping_add(*byte);
            state.swap(i, usize::from(j));
        }
        Self { state, i: 0, j: 0 }
    }

    /// Encrypts or decrypts what comes next.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.i = self.i.wrapping_add(1);
            let a = self.state[usize::from(self.i)];
            self.j = self.j.wrapping_add(a);
            let b = self.state[usize::from(self.j)];
            self.state.swap(usize::from(self.i), usize::from(self.j));
            *byte ^= self.state[usize::from(a.wrapping_add(b))];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rc4;

    #[test]
    fn known_answers() {
        // RFC 6229, keys of 40 and 128 bits.
        for (key, expected) in [
            (&[1, 2, 3, 4, 5][..], [0xb2, 0x39, 0x63, 0x05, 0xf0, 0x3d, 0xc0, 0x27]),
            (
                &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
                [0x9a, 0xc7, 0xcc, 0x9a, 0x60, 0x9d, 0x1e, 0xf7],
            ),
        ] {
            let mut bytes = [0; 8];
            let (first, second) = bytes.split_at_mut(3);
            let mut cipher = Rc4::new(key);
            cipher.apply(first);
            cipher.apply(second);
            assert_eq!(bytes, expected);
        }
    }
}
