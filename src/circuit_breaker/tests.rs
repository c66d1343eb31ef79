mod layer;
mod machine;
mod model;
