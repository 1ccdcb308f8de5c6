"""The command line: parse, call, print, exit status. The only owner of stdout."""
