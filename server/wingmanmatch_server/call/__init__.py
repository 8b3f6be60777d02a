"""`wingmanmatch call`: any RPC from the command line, for those without grpcurl.

commands.py   the command and its options
methods.py    the API as the generated code knows it, found by names that may be short
messages.py   requests out of JSON, answers into JSON
calling.py    one call, and how its error is told
describe.py   methods, messages and enums as a proto would say them
"""
