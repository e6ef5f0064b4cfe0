"""A few paragraphs each in languages that the demo's corpus does not want, and sentences that test encodings.

Choice: written for this project, about the same small harbour, each over 120 words, so that language alone decides.
Cost: a screen of literals. Alternative: translated message catalogues, which hold labels and no paragraphs.
"""

from __future__ import annotations

GERMAN = (
    "Der kleine Hafen liegt am Ende einer schmalen Straße, die im Winter oft gesperrt wird. Wer dort wohnt, kennt "
    "jeden Stein und jede Stufe bis hinunter zum Wasser. Am Morgen kommen die Fischer zurück, und die Möwen warten "
    "schon auf der Mauer. Niemand hat es eilig, denn das Boot nach der Insel fährt erst gegen Mittag, wenn die "
    "Flut hoch genug steht.",
    "Früher gab es hier eine Schule, eine Bäckerei und zwei Gasthäuser. Heute ist nur das eine Gasthaus geblieben, "
    "in dem die alten Leute sitzen und von den Stürmen erzählen. Sie streiten darüber, welches Jahr das schlimmste "
    "war, und werden sich nie einig. Im Sommer aber, wenn die Gäste kommen, sind alle Fenster offen, und man hört "
    "bis spät in die Nacht Musik. Dann vergisst man leicht, wie still es im November wieder sein wird.",
)
FRENCH = (
    "Le petit port se trouve au bout d'une route étroite que la neige ferme souvent en hiver. Ceux qui y vivent "
    "connaissent chaque pierre et chaque marche qui descend vers l'eau. Le matin, les pêcheurs rentrent lentement "
    "et les mouettes les attendent déjà sur le mur. Personne n'est pressé, car le bateau de l'île ne part que vers "
    "midi, quand la marée est assez haute.",
    "Autrefois il y avait ici une école, une boulangerie et deux auberges. Aujourd'hui il ne reste qu'une seule "
    "auberge, où les anciens se racontent les tempêtes de leur jeunesse. Ils se disputent pour savoir quelle année "
    "fut la pire et ne tombent jamais d'accord. En été pourtant, quand arrivent les visiteurs, toutes les fenêtres "
    "sont ouvertes et l'on entend de la musique jusque tard dans la nuit. On oublie alors combien ce lieu sera "
    "silencieux au mois de novembre.",
)
SPANISH = (
    "El pequeño puerto está al final de un camino estrecho que en invierno suele quedar cerrado. Los que viven "
    "allí conocen cada piedra y cada escalón que baja hasta el agua. Por la mañana vuelven los pescadores, y las "
    "gaviotas ya los esperan encima del muro. Nadie tiene prisa, porque el barco de la isla no sale hasta el "
    "mediodía, cuando la marea ha subido lo suficiente.",
    "Antes había aquí una escuela, una panadería y dos posadas. Hoy solo queda una de las posadas, donde los "
    "viejos se sientan a contar las tormentas de su juventud. Discuten sobre cuál fue el peor año y nunca se ponen "
    "de acuerdo. En verano, sin embargo, cuando llegan los visitantes, todas las ventanas están abiertas y se oye "
    "música hasta muy entrada la noche. Entonces es fácil olvidar lo callado que estará todo esto cuando vuelva "
    "noviembre.",
)
RUSSIAN = (
    "Маленькая гавань лежит в конце узкой дороги, которую зимой часто закрывают из-за снега. Те, кто там живёт, "
    "знают каждый камень и каждую ступень, ведущую к воде. Утром возвращаются рыбаки, а чайки уже ждут их на "
    "старой стене. Никто не спешит, потому что лодка на остров уходит только около полудня, когда прилив "
    "поднимается достаточно высоко.",
    "Раньше здесь были школа, пекарня и два постоялых двора. Теперь остался лишь один, где старики сидят у окна и "
    "вспоминают бури своей молодости. Они спорят о том, какой год был самым тяжёлым, и никогда не соглашаются друг "
    "с другом. Зато летом, когда приезжают гости, все окна открыты, и музыка слышна до поздней ночи. Тогда легко "
    "забыть, как тихо станет здесь снова в ноябре. Вода темнеет рано, фонари горят с четырёх часов, и только маяк "
    "по-прежнему считает минуты над пустым причалом.",
)
JAPANESE = (
    "小さな港は細い道の終わりにあり、冬になると雪のためにしばしば通れなくなる。そこに住む人々は、水辺まで続く石段の一つ一つをよく知っている。朝になると漁師たちが戻り、かもめはもう古い壁の上で待っている。"
    "島へ渡る船は昼ごろ、潮が十分に満ちてから出るので、誰も急ごうとはしない。",
    "昔はここに学校とパン屋と二軒の宿があった。今では宿が一軒残っているだけで、年寄りたちが窓辺に座り、若いころの嵐の話をしている。どの年がいちばんひどかったかを言い争い、決して意見が合うことはない。"
    "それでも夏に客が来ると、すべての窓が開き、夜遅くまで音楽が聞こえる。そのときには、十一月がどれほど静かになるかを誰もが忘れてしまう。",
)
# English sentences whose letters say whether an encoding was read rightly; the first needs what cp1252 has and Latin-1
# has not.
CP1252_SENTENCE = "The café’s naïve owner said “déjà vu” – and charged €5 for it…"
POLISH_SENTENCE = "My cousin Zbyněk moved from Łódź to Kraków and mails us żurek every Święta."
WIDE_SENTENCE = "A sign over the gate says 港 in gold, and below it: Ω to α, all boats return."

SHORT = (
    "The ferry was late again this morning, so we waited on the wall and counted gulls. There were eleven of them, "
    "and none seemed to mind the rain. When the boat came at last, the captain waved, and everybody forgave him at "
    "once.",
)
