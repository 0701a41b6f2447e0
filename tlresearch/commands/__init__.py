"""L4: the commands, thin; one module each with `add_arguments(parser)` and `main(arguments) -> int`."""
