"""The words of the page in English and Chinese; nothing else."""

from dataclasses import dataclass

STATIC_ENGLISH = {
    "intro": "Speak or type, and hear the answer.",
    "live": "Live call",
    "turns": "Turn by turn",
    "developer": "Developer",
    "new": "New conversation",
    "download": "Download",
    "retry": "Try again",
    "conversation": "Conversation",
    "empty": "Record a question or type one below.",
    "question": "Your question",
    "type_here": "Type a question and press Enter",
    "speak": "Record or upload a question",
    "send": "Send recording",
    "stop": "Stop",
    "clear": "Clear",
    "reply": "Reply, as it is spoken",
    "settings": "Settings",
    "temperature": "Temperature",
    "temperature_info": "0 always takes the likeliest token",
    "top_p": "Top-p",
    "max_tokens": "Most new tokens",
    "max_tokens_info": "text and speech together; about 18 a second of speech",
    "seed": "Seed",
    "seed_info": "-1: another one each time",
    "voice": "Voice",
    "preset": "Presets",
    "preset_usual": "Usual",
    "preset_exact": "Same each time",
    "preset_lively": "Lively",
    "language": "Language",
    "automatic": "Automatic",
    "theme": "Colours",
    "light": "Light",
    "dark": "Dark",
    "events": "Events of the call",
    "last_reply": "Last reply",
    "tokens": "Tokens",
    "user_tokens": "Speech tokens of your question",
    "text_tokens": "Text tokens of the reply",
    "audio_tokens": "Speech tokens of the reply",
    "curl": "Ask again with curl",
}

STATIC_CHINESE = {
    "intro": "说话或打字，然后听回答。",
    "live": "实时通话",
    "turns": "逐轮对话",
    "developer": "开发者",
    "new": "新对话",
    "download": "下载",
    "retry": "重试",
    "conversation": "对话",
    "empty": "在下面录一个问题，或者打字提问。",
    "question": "你的问题",
    "type_here": "输入问题，按回车发送",
    "speak": "录音或上传问题",
    "send": "发送录音",
    "stop": "停止",
    "clear": "清空",
    "reply": "正在播放的回答",
    "settings": "设置",
    "temperature": "温度",
    "temperature_info": "0 表示总取概率最大的词元",
    "top_p": "Top-p",
    "max_tokens": "最多新词元数",
    "max_tokens_info": "文本与语音合计；每秒语音约 18 个",
    "seed": "随机种子",
    "seed_info": "-1 表示每次不同",
    "voice": "声音",
    "preset": "预设",
    "preset_usual": "常用",
    "preset_exact": "每次相同",
    "preset_lively": "活泼",
    "language": "语言",
    "automatic": "自动",
    "theme": "配色",
    "light": "浅色",
    "dark": "深色",
    "events": "通话事件",
    "last_reply": "最近的回答",
    "tokens": "词元",
    "user_tokens": "问题的语音词元",
    "text_tokens": "回答的文本词元",
    "audio_tokens": "回答的语音词元",
    "curl": "用 curl 再问一次",
}


@dataclass(frozen=True)
class Phrases:
    """What the status line says; `answered` and the like take named values."""

    ready: str = "Ready"
    nothing: str = "Record, upload or type a question first."
    busy: str = "The last question is still being answered; wait for it or press Stop."
    listening: str = "Listening to your question …"
    thinking: str = "Thinking …"
    speaking: str = "Speaking …"
    answered: str = "Answered"
    first_sound: str = "first sound after {seconds:.2f} s"
    speech: str = "{seconds:.1f} s of speech"
    silent: str = "the model answered without speech"
    cut: str = "cut off at the limit of tokens"
    collapsed: str = "ended because it only repeated itself"
    forgotten: str = "{count} earlier turns no longer fit and were left out"
    stopped: str = "Stopped"
    cut_at: str = "Interrupted after {seconds:.1f} s"
    cleared: str = "The conversation is empty again."
    failed: str = "No answer"
    bug: str = (
        "Something broke inside the demo; the server's log says what. Your conversation is kept."
    )
    renewed: str = "A new conversation."
    no_reply: str = "Nothing has been answered yet."
    picture: str = "Waveform and mel spectrogram of the last reply"
    save_reply: str = "this reply"
    save_all: str = "whole conversation"
    save_turns: str = "each turn"
    person: str = "you"
    model: str = "model"
    no_ffmpeg: str = (
        "ffmpeg is not installed here: a reply is played when it is complete, not as it is spoken."
    )


CHINESE_PHRASES = Phrases(
    ready="就绪",
    nothing="请先录音、上传或输入一个问题。",
    busy="上一个问题还在回答；请等待，或按“停止”。",
    listening="正在听你的问题……",
    thinking="正在思考……",
    speaking="正在说话……",
    answered="已回答",
    first_sound="{seconds:.2f} 秒后出声",
    speech="语音 {seconds:.1f} 秒",
    silent="模型没有发出语音",
    cut="达到词元上限而截断",
    collapsed="因语音不断重复而结束",
    forgotten="较早的 {count} 轮对话已放不下，未计入",
    stopped="已停止",
    cut_at="在 {seconds:.1f} 秒处被打断",
    cleared="对话已清空。",
    failed="没有回答",
    bug="演示程序内部出错，详情见服务器日志。对话已保留。",
    renewed="新的对话。",
    no_reply="还没有回答。",
    picture="最近回答的波形与梅尔频谱",
    save_reply="本次回答",
    save_all="整个对话",
    save_turns="每一轮",
    person="你",
    model="模型",
    no_ffmpeg="此处没有安装 ffmpeg：回答说完后才会播放，不能边说边播。",
)


EVENT_LOG_WORDS = {
    "en": {
        "filter": "Filter, such as response.done",
        "copy": "Copy",
        "copied": "Copied",
        "not_copied": "Not allowed",
        "clear": "Clear",
        "empty": "Events appear here while a call is on.",
    },
    "zh": {
        "filter": "筛选，例如 response.done",
        "copy": "复制",
        "copied": "已复制",
        "not_copied": "不允许复制",
        "clear": "清空",
        "empty": "通话时事件会显示在这里。",
    },
}

TIMING_ENGLISH = {
    "endpoint_ms": "end of speech noticed",
    "tokenise_ms": "question to speech tokens",
    "prefill_ms": "prompt to first token",
    "first_text_ms": "first text after",
    "first_audio_ms": "first sound after",
    "total_ms": "complete after",
    "rtf": "computing for a second of speech",
}

TIMING_CHINESE = {
    "endpoint_ms": "察觉话音结束",
    "tokenise_ms": "问题转为语音词元",
    "prefill_ms": "提示到首个词元",
    "first_text_ms": "首个文字",
    "first_audio_ms": "首个声音",
    "total_ms": "全部完成",
    "rtf": "每秒语音的计算时间",
}


def phrases_for(accept_language: str | None, chosen: str | None = None) -> Phrases:
    """Choose the phrases.

    Args:
        accept_language: The browser's header; English unless Chinese comes first.
        chosen: What the person chose on the page, "en" or "zh"; anything else leaves it open.
    """
    first = (accept_language or "").split(",")[0].strip().lower()
    language = chosen if chosen in {"en", "zh"} else first
    return CHINESE_PHRASES if language.startswith("zh") else Phrases()
