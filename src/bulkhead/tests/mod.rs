mod layer;
#[cfg(moneta_loom)]
mod loom;
mod machine;
mod storm;
