mod layer;
#[cfg(moneta_loom)]
mod loom;
mod machine;
mod model;
mod per_key;
mod promises;
mod transitions;
