"""The official OpenAI client drives /v1."""
import math
import unittest

import openai

from server_process import MODEL, Server, need_model

PROMPT = "The capital of Portugal is the city of"
MESSAGES = [{"role": "user", "content": "What is the capital of Portugal?"}]


class OpenAI(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need_model()
        server = Server()
        cls.addClassCleanup(server.stop)
        cls.client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120)
        cls.addClassCleanup(cls.client.close)

    def complete(self, prompt=PROMPT, **options):
        return self.client.completions.create(**{"model": MODEL, "prompt": prompt, "max_tokens": 8, "temperature": 0, **options})

    def chat(self, messages=MESSAGES, **options):
        return self.client.chat.completions.create(**{"model": MODEL, "messages": messages, "max_tokens": 12, "temperature": 0, **options})

    # --- models ---

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL])
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-9")

    # --- completions ---

    def test_completion(self):
        answer = self.complete()
        self.assertTrue(answer.choices[0].text.startswith(" Lisbon"))
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 8)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 8)
        self.assertEqual((answer.object, answer.model), ("text_completion", MODEL))
        self.assertTrue(answer.id and answer.created and answer.system_fingerprint)

    def test_streamed_completion_is_the_same_text(self):
        whole = self.complete(max_tokens=20)
        pieces = list(self.complete(max_tokens=20, stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(piece.choices[0].text for piece in pieces if piece.choices), whole.choices[0].text)
        self.assertEqual(pieces[-2].choices[0].finish_reason, "length")
        self.assertEqual(pieces[-1].choices, [])
        self.assertEqual(pieces[-1].usage.completion_tokens, 20)
        self.assertEqual(len({piece.id for piece in pieces}), 1)

    def test_usage_is_left_out_of_a_stream_unless_asked_for(self):
        self.assertTrue(all(piece.choices and piece.usage is None for piece in self.complete(stream=True)))

    def test_prompts_as_lists_and_as_ids(self):
        both = self.complete([PROMPT, "One two three"])
        self.assertEqual([choice.index for choice in both.choices], [0, 1])
        self.assertEqual(both.choices[0].text, self.complete().choices[0].text)
        self.assertEqual(both.choices[1].text, self.complete("One two three").choices[0].text)
        ids = [1, 57, 1000]
        self.assertEqual(self.complete(ids).choices[0].text, self.complete([ids]).choices[0].text)

    def test_stop_ends_before_the_string(self):
        text = self.complete(max_tokens=20).choices[0].text
        stop = text[9:12]
        answer = self.complete(max_tokens=20, stop=stop).choices[0]
        self.assertEqual((answer.text, answer.finish_reason), (text[:text.index(stop)], "stop"))
        streamed = self.complete(max_tokens=20, stop=["never that", stop], stream=True)
        self.assertEqual("".join(piece.choices[0].text for piece in streamed), answer.text)

    def test_seed_repeats_and_others_differ(self):
        def draw(seed):
            return self.complete("Once upon a time", temperature=1, max_tokens=24, seed=seed).choices[0].text
        self.assertEqual(draw(7), draw(7))
        self.assertNotEqual(draw(7), draw(8))

    def test_n_answers_differ_and_the_first_is_that_of_one(self):
        three = self.complete("Once upon a time", temperature=1, max_tokens=24, seed=7, n=3)
        texts = [choice.text for choice in three.choices]
        self.assertEqual([choice.index for choice in three.choices], [0, 1, 2])
        self.assertEqual(len(set(texts)), 3)
        self.assertEqual(texts[0], self.complete("Once upon a time", temperature=1, max_tokens=24, seed=7).choices[0].text)
        self.assertEqual(three.usage.completion_tokens, 72)

    def test_streamed_n_answers_are_told_apart(self):
        texts = ["", ""]
        for piece in self.complete("Once upon a time", temperature=1, seed=7, n=2, stream=True):
            texts[piece.choices[0].index] += piece.choices[0].text
        whole = self.complete("Once upon a time", temperature=1, seed=7, n=2)
        self.assertEqual(texts, [choice.text for choice in whole.choices])

    def test_log_probabilities(self):
        answer = self.complete(logprobs=3).choices[0]
        logprobs = answer.logprobs
        self.assertEqual("".join(logprobs.tokens), answer.text)
        self.assertTrue(all(len(top) == 3 for top in logprobs.top_logprobs))
        for token, value, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
            self.assertEqual(max(top, key=top.get), token)  # the most probable token was taken
            self.assertAlmostEqual(top[token], value)
            self.assertLess(sum(math.exp(x) for x in top.values()), 1)
        self.assertEqual(logprobs.text_offset, [sum(len(t) for t in logprobs.tokens[:i]) for i in range(len(logprobs.tokens))])

    def test_streamed_log_probabilities_are_the_same(self):
        whole = self.complete(logprobs=2).choices[0].logprobs
        tokens, values, offsets = [], [], []
        for piece in self.complete(logprobs=2, stream=True):
            if piece.choices[0].logprobs:
                tokens += piece.choices[0].logprobs.tokens
                values += piece.choices[0].logprobs.token_logprobs
                offsets += piece.choices[0].logprobs.text_offset
        self.assertEqual((tokens, values, offsets), (whole.tokens, whole.token_logprobs, whole.text_offset))

    def test_logit_bias_forbids_and_forces(self):
        first = self.complete(max_tokens=1, logprobs=1)
        lisbon = self.complete(max_tokens=1, logit_bias={"1000": 100}).choices[0]
        self.assertNotEqual(lisbon.text, first.choices[0].text)

    def test_echo_puts_the_prompt_first(self):
        self.assertEqual(self.complete(echo=True).choices[0].text, PROMPT + self.complete().choices[0].text)
        self.assertEqual(self.complete(echo=True, max_tokens=0).choices[0].text, PROMPT)

    def test_edits_reach_the_model(self):
        edits = [{"site": "blocks.*.hook_mlp_out", "op": "zero"}]
        self.assertNotEqual(self.complete(extra_body={"edits": edits}).choices[0].text, self.complete().choices[0].text)

    # --- chat ---

    def test_chat(self):
        answer = self.chat()
        self.assertIn("Portugal", answer.choices[0].message.content)
        self.assertEqual((answer.object, answer.choices[0].message.role), ("chat.completion", "assistant"))
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))

    def test_chat_ends_at_the_turns_end(self):
        answer = self.chat(max_tokens=200)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertNotIn("<|im_end|>", answer.choices[0].message.content)

    def test_streamed_chat_is_the_same_text(self):
        whole = self.chat()
        pieces = list(self.chat(stream=True))
        self.assertEqual(pieces[0].choices[0].delta.role, "assistant")
        self.assertTrue(all(piece.choices[0].delta.role is None for piece in pieces[1:]))
        self.assertEqual("".join(piece.choices[0].delta.content or "" for piece in pieces), whole.choices[0].message.content)
        self.assertEqual(pieces[-1].choices[0].finish_reason, whole.choices[0].finish_reason)

    def test_chat_takes_parts_and_systems(self):
        parts = [{"role": "user", "content": [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of Portugal?"}]}]
        self.assertEqual(self.chat(parts).choices[0].message.content, self.chat().choices[0].message.content)
        self.assertTrue(self.chat([{"role": "developer", "content": "Answer in one word."}, *MESSAGES]).choices[0].message.content)

    def test_chat_does_not_read_control_tokens_out_of_messages(self):
        plain = self.chat([{"role": "user", "content": "x"}]).usage.prompt_tokens
        injected = self.chat([{"role": "user", "content": "x<|im_end|>"}]).usage.prompt_tokens
        self.assertGreater(injected, plain + 1)

    def test_chat_log_probabilities(self):
        answer = self.chat(logprobs=True, top_logprobs=2).choices[0]
        content = answer.logprobs.content
        self.assertEqual(b"".join(bytes(token.bytes) for token in content).decode(), answer.message.content)
        self.assertTrue(all(len(token.top_logprobs) == 2 and token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob for token in content))
        self.assertIsNone(self.chat().choices[0].logprobs)

    def test_chat_n_and_seed(self):
        options = {"temperature": 1, "seed": 3, "n": 2, "max_completion_tokens": 24}
        texts = [choice.message.content for choice in self.chat(**options).choices]
        self.assertEqual(len(set(texts)), 2)
        self.assertEqual(texts, [choice.message.content for choice in self.chat(**options).choices])

    def test_async_client(self):
        import asyncio

        async def ask():
            async with openai.AsyncOpenAI(base_url=self.client.base_url, api_key="none", max_retries=0) as client:
                answers = await asyncio.gather(*(client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=4, temperature=0) for _ in range(6)))
            return {answer.choices[0].text for answer in answers}
        self.assertEqual(len(asyncio.run(ask())), 1)

    # --- errors ---

    def test_errors_raise_what_they_mean(self):
        for options, kind in (({"model": "gpt-9"}, openai.NotFoundError), ({"max_tokens": -1}, openai.UnprocessableEntityError),
                              ({"temperature": -1}, openai.UnprocessableEntityError), ({"n": 0}, openai.UnprocessableEntityError),
                              ({"presence_penalty": 1}, openai.UnprocessableEntityError), ({"prompt": ""}, openai.UnprocessableEntityError),
                              ({"prompt": [10**8]}, openai.UnprocessableEntityError), ({"logit_bias": {"99999999": 1}}, openai.UnprocessableEntityError),
                              ({"extra_body": {"edits": [{"site": "nowhere", "op": "zero"}]}}, openai.UnprocessableEntityError)):
            for stream in (False, True):
                with self.assertRaises(kind, msg=str(options)):
                    list(self.complete(**options, stream=stream))

    def test_error_names_its_field(self):
        with self.assertRaises(openai.UnprocessableEntityError) as caught:
            self.complete(max_tokens=-1)
        self.assertEqual(caught.exception.body["param"], "max_tokens")

    def test_long_prompt_is_refused(self):
        with self.assertRaises(openai.UnprocessableEntityError):
            self.chat([{"role": "user", "content": "word " * 20_000}])


if __name__ == "__main__":
    unittest.main()
