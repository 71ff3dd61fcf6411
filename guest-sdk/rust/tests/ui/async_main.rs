use heddle::prelude::*;

#[heddle::main]
async fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    Ok(())
}
