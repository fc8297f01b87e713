//! A header is read to its end and not past it, whatever follows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wscluster_gateway::proxy_protocol::{LONGEST, Parsed, parse};

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok(Parsed::More(more)) => assert!(more > 0 && bytes.len() + more <= LONGEST),
        Ok(done @ Parsed::Done { length, .. }) => {
            assert!(length <= bytes.len() && length <= LONGEST);
            assert_eq!(parse(&bytes[..length]), Ok(done));
            for end in [0, 11, 12, 15, length - 1] {
                let Ok(Parsed::More(more)) = parse(&bytes[..end]) else { panic!("the header ended at {end}") };
                assert!(end + more <= length, "reads past the header");
            }
        }
        // What is wrong stays wrong with more bytes.
        Err(error) => assert_eq!(parse(&[bytes, b"GET / HTTP/1.1\r\n"].concat()), Err(error)),
    }
});
