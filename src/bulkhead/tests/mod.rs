mod layer;
mod machine;
