"""`python -m tlresearch` is the command `tlresearch`."""

from tlresearch.commands.main import run

if __name__ == "__main__":
    run()
