//! The messages of `proto/hadoop`, as they are generated.

// The names are Hadoop's.
#![allow(clippy::enum_variant_names)]

/// Around a call: headers, authentication, tokens.
pub mod rpc {
    include!(concat!(env!("OUT_DIR"), "/hadoop.rpc.rs"));

    impl std::fmt::Debug for Token {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Token")
                .field("kind", &self.kind)
                .field("service", &self.service)
                .finish_non_exhaustive()
        }
    }
}

/// What YARN's services take and give.
pub mod yarn {
    include!(concat!(env!("OUT_DIR"), "/hadoop.yarn.rs"));
}
