"""Processes talk: through a pipe, a socket and a queue."""

import allcores as mp
from allcores.connection import Client, Listener


def shout(pipe):
    pipe.send(pipe.recv().upper())
    pipe.close()


def call(address, key):
    with Client(address, authkey=key) as connection:
        connection.send({"from": "client", "numbers": [1, 2, 3]})
        print("client got:", connection.recv())


def produce(queue, count):
    for number in range(count):
        queue.put(number * number)
    queue.put(None)


here, there = mp.Pipe()
child = mp.Process(target=shout, args=(there,))
child.start()
here.send("hello")
print("pipe:", here.recv())
child.join()

key = b"not for the network"
with Listener(("127.0.0.1", 0), authkey=key) as listener:
    child = mp.Process(target=call, args=(listener.address, key))
    child.start()
    with listener.accept() as connection:
        message = connection.recv()
        connection.send(sum(message["numbers"]))
    child.join()
print("socket:", message)

queue = mp.Queue()
child = mp.Process(target=produce, args=(queue, 5))
child.start()
print("queue:", list(iter(queue.get, None)))
child.join()
