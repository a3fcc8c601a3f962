"""Makes chats.json: templates, messages and what Python's jinja2 (set up as chat templates are) makes of them.

    python make_chats.py SMOLLM2.gguf       # needs jinja2 and gguf
"""

import datetime
import json
import pathlib
import sys

import gguf
import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).resolve().parent
NOW = 1721995200  # 26 July 2024, 12:00 UTC

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}\
{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}\
{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
{{ ' ' + content | trim + ' ' + eos_token }}{% endif %}{% endfor %}
"""
LLAMA3 = """{{- bos_token }}
{#- The day, unless it is given. #}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- macro turn(role, content='') -%}
<|start_header_id|>{{ role }}<|end_header_id|>

{{ content | trim }}<|eot_id|>
{%- endmacro %}
{%- if messages[0].role == 'system' %}
    {%- set system_message = messages[0].content %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
    {%- set rest = messages %}
{%- endif %}
{{- turn('system', 'Today Date: ' ~ date_string ~ '\\n\\n' ~ system_message) }}
{%- for message in rest %}
    {%- if message.tool_calls is defined and message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- turn('assistant', '{"name": "' + call.function.name + '", "parameters": ' + (call.function.arguments | tojson) + '}') }}
        {%- endfor %}
    {%- else %}
        {{- turn(message['role'], content=message['content']) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""
TOOLS = """{%- set ns = namespace(last_user=-1, n=0) -%}
{%- for m in messages[::-1] if m.role == 'user' -%}{%- if loop.first -%}{%- set ns.last_user = messages | length - loop.index -%}{%- endif -%}
{%- set ns.n = ns.n + 1 -%}{%- endfor -%}
{% if tools %}
# Tools
  {% for tool in tools %}
  {{ tool | tojson }}{{ "," if not loop.last else "." }}
{{ tool.function | tojson(indent=2) }}
  {% endfor %}
names: {{ tools | map(attribute='function.name') | join(', ') }}; {{ tools | selectattr('type', 'equalto', 'function') | list | length }}
{% endif %}
{% for message in messages %}
{%- set role = {'user': 'U', 'assistant': 'A'}.get(message.role, message.role | upper) %}
[{{ role }}{{ loop.revindex0 }}{% if loop.previtem is defined %}<{{ loop.previtem.role[:2] }}{% endif %}] \
{% if message.content is string -%}
{{ message.content.split('</think>')[-1].lstrip('\\n') }}
{%- else -%}
{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}<{{ part['type'] }}>{% continue %}{% endif %}{% endfor %}
{%- endif %}
{% else %}
nothing
{% endfor %}
{{ ns.n }} users{% if 'user' in messages | map(attribute='role') | list and messages[0].name is not defined %}!{% endif %}
"""
ODDS = """{%- set text = messages[0].content -%}
{{ [1, 2.5, -3, 7 // 2, -7 // 2, -7 % 3, 7 / 2, 1e0 if false else 'x', true, none, 'q"' , "it's"] }} {{ {'a': [1], 'b': {'c': 'é\\n'}} }}
{{ text | upper }}|{{ text | title }}|{{ text | capitalize }}|{{ text[1:4] }}|{{ text[-3:] }}|{{ text[::-2] }}|{{ text[0] }}
{{ text | replace('a', '<A>') }}|{{ text.replace('o', '0', 1) }}|{{ text | length }}|{{ text.split() | join('/') }}|{{ text.split('a', 1) }}
{{ 'ab' * 2 ~ 3 ~ none ~ 1.0 }}|{{ 3 in [1, 3] }}|{{ 'b' not in 'abc' }}|{{ missing | default('none here') }}|{{ '' | default('empty', true) }}|{{ missing }}
{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}={{ v }}{{ ';' if not loop.last }}{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% elif i > 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% set block %}  in a block: {{ text | trim }}  {% endset %}{{ block | trim }}{# a comment #}
   {%+ if 3 is odd and 4 is divisibleby 2 and not 1 > 2 %}  kept  {% endif +%}
{{ text.startswith(('He', 'Wo')) }} {{ text.endswith('!') }} {{ ' x '.strip() }} {{ '--x--'.strip('-') }} {{ [3, 1, 3] | unique | list }}
{{ messages | map(attribute='role') | map('upper') | list }} {{ [0, 1, '', 'a'] | select | list }} {{ (1, 2) | first }} {{ '12' | int + 1 }}
{{ messages[0] is mapping }} {{ text is string }} {{ none is none }} {{ 2 is number }} {{ [] is iterable }} {{ text.lower().rstrip('!') }}
{{- "\\t\\x41\\u00e9" }}
"""

PLAIN = [{"role": "user", "content": "Hello  wörld, it's a <|im_end|> day!"}]
CHAT = [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "Olá 👋🏽 \n"}, {"role": "assistant", "content": "  Hi."},
        {"role": "user", "content": "And then?</s>"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image"}, {"type": "text", "text": " this"}]},
         {"role": "assistant", "content": "<think>hm</think>\n\nYes"}, {"role": "tool", "content": "42"}, {"role": "user", "content": ""}]
CALLS = [{"role": "user", "content": "time?"},
         {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": {"zone": "UTC \"é\"\t", "n": [1, 2.5, None, True]}}}]}]
TOOL_LIST = [{"type": "function", "function": {"name": "now", "description": "Tells \"the\" time", "parameters": {"zone": [], "more": {}}}},
             {"type": "other", "function": {"name": "then", "description": "ünï\n"}}]


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(f)
    return env


def main():
    smollm2 = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    templates = {"smollm2": smollm2, "llama2": LLAMA2, "llama3": LLAMA3, "zephyr": ZEPHYR, "tools": TOOLS, "odds": ODDS}
    cases = []
    for name, source in templates.items():
        compiled = environment().from_string(source)
        for messages in [PLAIN, CHAT] + ([PARTS, []] if name == "tools" else []) + ([CALLS] if name == "llama3" else []):
            for prompt in (True, False):
                tools = TOOL_LIST if name == "tools" else None
                text = compiled.render(messages=messages, tools=tools, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>")
                cases.append({"template": name, "messages": messages, "tools": tools, "add_generation_prompt": prompt, "text": text})
    data = {"now": NOW, "templates": templates, "cases": cases}
    (HERE / "chats.json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(len(cases), "renders")


if __name__ == "__main__":
    main()
