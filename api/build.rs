//! Compiles `proto/tempopb.proto` with a pure-Rust protobuf compiler.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/tempopb.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .btree_map(".")
        .extern_path(".opentelemetry.proto.common.v1", "::opentelemetry_proto::tonic::common::v1")
        .compile_fds(files)?;
    Ok(())
}
