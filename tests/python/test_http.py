"""The server against raw sockets: limits, refusals, streams whose client leaves, the /api commands."""
import base64
import gzip
import io
import json
import select
import signal
import socket
import struct
import subprocess
import time
import unittest

import numpy

from server_process import MODEL, PROGRAM, Server, need_model, read_all, status_of

PROMPT = "The capital of Portugal is the city of"


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need_model()
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def post(self, path, body, extra="", host="127.0.0.1"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
        return self.server.raw(head.encode() + data)

    def refused(self, path, body, status, param=None):
        got, answer = self.server.json(path, body)
        self.assertEqual(got, status, answer)
        self.assertEqual(answer["error"]["param"], param, answer)
        return answer["error"]["message"]


class Limits(WithServer):
    def test_chunked_body_is_refused_and_the_connection_closed(self):
        answer = self.server.raw(b"POST /api/tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                                 b"5\r\n{\"a\":\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(status_of(answer), 411)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)

    def test_body_above_the_limit_is_refused_before_it_is_read(self):
        with self.server.connect() as connection:
            connection.sendall(b"POST /api/tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
            self.assertEqual(status_of(read_all(connection)), 413)

    def test_client_that_sends_a_huge_body_gets_the_answer(self):
        body = b'{"prompt": "' + b"a" * (12 << 20) + b'"}'
        self.assertEqual(status_of(self.post("/api/tokenize", body)), 413)

    def test_many_headers_are_refused(self):
        self.assertEqual(status_of(self.server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 500 + b"\r\n")), 431)

    def test_long_headers_are_refused(self):
        self.assertEqual(status_of(self.server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n")), 431)

    def test_endless_header_is_refused(self):
        self.assertEqual(status_of(self.server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000)), 431)

    def test_long_address_is_refused(self):
        self.assertEqual(status_of(self.server.raw(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")), 414)

    def test_what_is_no_request_is_refused(self):
        for data in (b"hello\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            self.assertEqual(status_of(self.server.raw(data)), 400, data)

    def test_client_that_dawdles_is_cut_off_and_others_are_served(self):
        slow = [self.server.connect() for _ in range(8)]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        self.assertEqual(self.server.call("/healthz")[0], 200)
        for connection in slow:
            with connection:
                self.assertEqual(status_of(read_all(connection)), 408)

    def test_more_connections_than_are_served_are_refused_and_served_again_once_some_leave(self):
        kept = [self.server.connect() for _ in range(70)]
        with self.server.connect() as one_more:
            self.assertEqual(status_of(read_all(one_more)), 503)
        for connection in kept:
            connection.close()
        for _ in range(100):
            try:
                if self.server.call("/healthz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.fail("the server does not recover")

    def test_requests_follow_each_other_on_one_connection(self):
        with self.server.connect() as connection:
            one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            connection.sendall(one + one + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertEqual(read_all(connection).count(b"HTTP/1.1 200"), 3)

    def test_client_that_waits_for_continue_is_told(self):
        with self.server.connect() as connection:
            connection.sendall(b"POST /api/tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 15\r\nExpect: 100-continue\r\n\r\n")
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 100 "))
            connection.sendall(b'{"prompt": "a"}')
            self.assertEqual(status_of(read_all(connection)), 200)


class Access(WithServer):
    def test_other_hosts_are_refused(self):
        self.assertEqual(status_of(self.post("/api/tokenize", {"prompt": "a"}, host="evil.example")), 403)
        self.assertEqual(status_of(self.post("/api/tokenize", {"prompt": "a"}, host="localhost:1234")), 200)

    def test_pages_of_other_origins_are_refused(self):
        for origin in ("http://evil.example", "null", "http://localhost:3000"):
            self.assertEqual(status_of(self.post("/api/tokenize", {"prompt": "a"}, f"Origin: {origin}\r\n")), 403, origin)
        self.assertEqual(status_of(self.post("/api/tokenize", {"prompt": "a"}, "Origin: http://127.0.0.1\r\n")), 200)

    def test_allowed_origin_is_served_and_told_so(self):
        with Server("--allow-origin", "https://lab.example", wait=False) as server:
            head = b"OPTIONS /api/lens HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: https://lab.example\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
            answer = server.raw(head)
            self.assertEqual(status_of(answer), 204)
            self.assertIn(b"Access-Control-Allow-Origin: https://lab.example\r\n", answer)
            self.assertIn(b"Access-Control-Allow-Headers: content-type\r\n", answer)
            self.assertEqual(status_of(server.raw(head.replace(b"lab.example", b"evil.example"))), 403)

    def test_page_is_the_same_plain_and_compressed(self):
        _, _, plain = self.server.call("/")
        _, headers, packed = self.server.call("/", headers={"Accept-Encoding": "gzip"})
        self.assertEqual(gzip.decompress(packed) if headers["Content-Encoding"] == "gzip" else packed, plain)

    def test_page_comes_with_a_policy(self):
        status, headers, _ = self.server.call("/")
        self.assertEqual(status, 200)
        self.assertIn("script-src 'self';", headers["Content-Security-Policy"])
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")


class Requests(WithServer):
    def test_bodies_that_are_not_json_objects(self):
        for body in (b"", b"{", b"[]", b"5", b"null", b'{"a": 1e999}', b'{"prompt": "\xff"}', b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"prompt": NaN}'):
            self.assertEqual(status_of(self.post("/api/tokenize", body)), 400, body[:40])

    def test_addresses_and_methods(self):
        self.assertEqual(self.server.call("/api/nothing", {})[0], 404)
        self.assertEqual(self.server.call("/v1/nothing", {})[0], 404)
        self.assertEqual(self.server.call("/nothing")[0], 404)
        status, headers, _ = self.server.call("/api/lens")
        self.assertEqual((status, headers["Allow"]), (405, "POST, OPTIONS"))
        self.assertEqual(self.server.call("/healthz", {})[0], 405)
        for method in ("DELETE", "PATCH", "TRACE", "BREW"):
            self.assertEqual(self.server.json("/healthz", method=method)[0], 405)

    def test_models_of_other_names_and_paths(self):
        self.refused("/api/tokenize", {"prompt": "a", "model": "gpt-9"}, 404, "model")
        self.refused("/api/tokenize", {"prompt": "a", "model": "/etc/passwd"}, 422, "model")
        self.assertEqual(self.server.call("/api/tokenize", {"prompt": "a", "model": MODEL})[0], 200)

    def test_fields_that_are_wrong(self):
        for path, body, param in (("run", {"prompt": "a", "max-tokens": -1}, "max-tokens"), ("run", {"prompt": "a", "max-tokens": 1.5}, "max-tokens"),
                                  ("run", {"prompt": "a", "top-k": -3}, "top-k"), ("run", {"prompt": "a", "seed": "x"}, "seed"), ("run", {"prompt": 5}, "prompt"),
                                  ("run", {}, "prompt"), ("run", {"prompt": ""}, "prompt"), ("run", {"tokens": [-1]}, "tokens"), ("run", {"tokens": [10**9]}, "tokens"),
                                  ("lens", {"prompt": "a", "top": -1}, "top"), ("lens", {"prompt": "a", "positions": "5"}, "positions"),
                                  ("lens", {"prompt": "a", "tuned": "/tmp/x"}, "tuned"), ("lens", {"prompt": "a", "colour": 1}, "colour"),
                                  ("perplexity", {"prompt": "a b c", "context": -5}, "context"), ("trace", {"prompt": "a", "sites": ["x"], "out": "/tmp/x"}, "out"),
                                  ("run", {"prompt": "a", "stream": "yes"}, "stream")):
            self.refused("/api/" + path, body, 422, param)

    def test_unknown_site_names_the_nearest(self):
        status, answer = self.server.json("/api/trace", {"prompt": "a", "sites": ["blocks.3.hook_resid_pots"]})
        self.assertEqual(status, 422)
        self.assertIn("hook_resid_post", answer["error"]["message"])

    def test_edits_that_are_wrong(self):
        for edit in ({}, {"site": "blocks.0.hook_mlp_out"}, {"site": "blocks.0.hook_mlp_out", "op": "explode"}, {"site": "blocks.99.hook_mlp_out", "op": "zero"},
                     {"site": "blocks.0.hook_mlp_out", "op": "set", "value": "/etc/passwd"}, {"site": "blocks.0.hook_mlp_out", "op": "set", "value": [1, 2, 3]},
                     {"site": "blocks.0.attn.hook_z", "op": "zero", "head": 99}):
            for stream in (False, True):
                status, answer = self.server.json("/api/run", {"prompt": PROMPT, "max-tokens": 1, "edits": [edit], "stream": stream})
                self.assertEqual(status, 422, (edit, answer))

    def test_prompt_longer_than_the_context(self):
        self.refused("/api/lens", {"prompt": "a b" * 20_000}, 422, "prompt")

    def test_http_1_0_is_answered(self):
        body = json.dumps({"prompt": PROMPT, "max-tokens": 2, "stream": True}).encode()
        answer = self.server.raw(b"POST /api/run HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertEqual(status_of(answer), 200)
        self.assertNotIn(b"chunked", answer.lower())
        self.assertIn(b'"done":true', answer)


class Commands(WithServer):
    def test_health_names_the_model(self):
        self.assertEqual(self.server.json("/healthz"), (200, {"status": "ok", "model": MODEL}))

    def test_tokenize(self):
        _, answer = self.server.json("/api/tokenize", {"prompt": PROMPT})
        self.assertEqual("".join(answer["tokens"]), PROMPT)
        self.assertEqual(len(answer["ids"]), len(answer["tokens"]))

    def test_inspect_and_models(self):
        _, answer = self.server.json("/api/inspect", {})
        self.assertEqual((answer["config"]["n_layers"], answer["config"]["d_model"]), (30, 576))
        _, answer = self.server.json("/api/models", {})
        self.assertIn(MODEL, [model["name"] for model in answer["models"]])

    def test_lens_sees_lisbon(self):
        _, answer = self.server.json("/api/lens", {"prompt": PROMPT, "positions": "last", "top": 3, "target": " Lisbon"})
        last = answer["cells"][-1][0]
        self.assertEqual(last["target"]["rank"], 1)
        self.assertEqual(last["top"][0]["text"], " Lisbon")

    def test_several_prompts_give_a_list(self):
        _, answer = self.server.json("/api/lens", {"prompts": ["a b", "c"], "positions": "last"})
        self.assertEqual([len(result["tokens"]) for result in answer["results"]], [2, 1])

    def test_patterns_are_distributions(self):
        _, answer = self.server.json("/api/patterns", {"prompt": PROMPT})
        n = len(answer["tokens"])
        patterns = numpy.frombuffer(base64.b64decode(answer["patterns"]), numpy.uint8).reshape(answer["n_layers"], answer["n_heads"], n, n)
        self.assertLess(numpy.abs(patterns.astype(float).sum(-1) - 255).max(), n)

    def test_trace_answers_with_npz(self):
        status, headers, data = self.server.call("/api/trace", {"prompt": PROMPT, "sites": "blocks.0.hook_resid_post,blocks.2.attn.hook_z", "grad": True})
        self.assertEqual((status, headers["Content-Type"]), (200, "application/octet-stream"))
        arrays = numpy.load(io.BytesIO(data))
        n = arrays["tokens"].shape[1]
        self.assertEqual(arrays["blocks.0.hook_resid_post"].shape, (1, n, 576))
        self.assertEqual(arrays["grad.blocks.2.attn.hook_z"].shape, (1, n, 9, 64))

    def test_perplexity_streams_and_answers_the_same(self):
        body = {"prompt": PROMPT + " Lisbon."}
        _, plain = self.server.json("/api/perplexity", body)
        _, _, data = self.server.call("/api/perplexity", {**body, "stream": True})
        events = [json.loads(line[5:]) for line in data.decode().splitlines() if line.startswith("data:")]
        self.assertEqual({**plain, "done": True}, events[-1])

    def test_run_streams_each_token_then_the_whole(self):
        body = {"prompt": PROMPT, "max-tokens": 5, "top": 3, "lens": True}
        _, whole = self.server.json("/api/run", body)
        _, headers, data = self.server.call("/api/run", {**body, "stream": True})
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))
        *tokens, last = [json.loads(line[5:]) for line in data.decode().splitlines() if line.startswith("data:")]
        self.assertTrue(last["done"])
        self.assertEqual(last["text"], whole["text"])
        self.assertEqual("".join(token["text"] for token in tokens), whole["text"])
        self.assertEqual([token["id"] for token in tokens], whole["ids"])
        self.assertEqual((len(tokens[0]["top"]), len(tokens[0]["lens"])), (3, 31))

    def test_edit_changes_the_answer_and_an_empty_list_does_not(self):
        body = {"prompt": PROMPT, "max-tokens": 3}
        plain = self.server.json("/api/run", body)[1]["ids"]
        self.assertEqual(self.server.json("/api/run", {**body, "edits": []})[1]["ids"], plain)
        edit = {"site": "blocks.*.hook_mlp_out", "op": "zero"}
        self.assertNotEqual(self.server.json("/api/run", {**body, "edits": [edit]})[1]["ids"], plain)


class Leaving(WithServer):
    def start(self, stream):
        """Asks for 16 texts of 5000 tokens each, which nothing cuts short: hours of work for a test to leave behind."""
        body = json.dumps({"prompt": "Once upon a time", "max_tokens": 5000, "n": 16, "stream": stream, "logit_bias": {"0": -100, "2": -100}}).encode()
        connection = self.server.connect()
        self.addCleanup(connection.close)
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return connection

    def assert_engine_is_free(self):
        # Raises after two minutes if the engine still works for those who left; they may fill the queue for a moment.
        status = 429
        while status == 429:
            status, headers, _ = self.server.call("/api/lens", {"prompt": "a", "positions": "last"})
            time.sleep(float(headers.get("Retry-After", 0)))
        self.assertEqual(status, 200)

    def test_stream_whose_client_leaves_frees_the_engine(self):
        connection = self.start(True)
        self.assertIn(b"200", connection.recv(4096))
        connection.close()
        self.assert_engine_is_free()

    def test_request_whose_client_leaves_before_the_answer_frees_the_engine(self):
        connection = self.start(False)
        time.sleep(0.5)
        connection.close()
        self.assert_engine_is_free()

    def test_client_that_leaves_while_it_waits_is_forgotten(self):
        running = self.start(True)
        running.recv(4096)
        for _ in range(40):  # more than may wait at once
            self.start(False).close()
        running.close()
        self.assert_engine_is_free()

    def test_more_requests_than_may_wait_get_429(self):
        running = self.start(True)
        running.recv(4096)
        waiting = [self.start(False) for _ in range(40)]  # 32 may wait
        refused = []
        while len(refused) < 8:
            ready, _, _ = select.select(waiting, [], [], 60)
            self.assertTrue(ready, f"only {len(refused)} were refused")
            for connection in ready:
                refused.append(connection.recv(4096))
                waiting.remove(connection)
                connection.close()
        self.assertEqual(len(waiting), 32)
        self.assertTrue(all(b" 429 " in answer and b"Retry-After" in answer for answer in refused))
        for connection in (running, *waiting):
            connection.close()
        self.assert_engine_is_free()

    def test_reset_connections_do_no_harm(self):
        for _ in range(20):
            connection = self.start(True)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self.assert_engine_is_free()


class Lifetime(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need_model()

    def test_second_server_on_the_same_port_fails_with_the_way_out(self):
        with Server(wait=False) as server:
            done = subprocess.run([PROGRAM, "serve", MODEL, "--port", str(server.port)], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--port", done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1)
            self.assertEqual(done.stdout, "")

    def test_page_is_up_while_the_model_loads(self):
        with Server(wait=False) as server:
            self.assertEqual(server.call("/")[0], 200)
            status, answer = server.json("/healthz")
            self.assertIn((status, answer["status"]), ((503, "loading"), (200, "ok")))

    def test_signals_end_it_cleanly_even_while_a_stream_runs(self):
        for how in (signal.SIGINT, signal.SIGTERM):
            server = Server()
            body = json.dumps({"prompt": "a", "max-tokens": 5000, "stream": True}).encode()
            with server.connect() as connection:
                connection.sendall(b"POST /api/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                connection.recv(4096)
                self.assertEqual(server.stop(how), 0)


if __name__ == "__main__":
    unittest.main()
