"""A server of the S3 protocol, as a program: prints its port, and ends with its standard input."""

import sys

from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

WSGIRequestHandler.wbufsize = -1  # head and body in one packet: else bodies wait 40 ms for an acknowledgement
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
