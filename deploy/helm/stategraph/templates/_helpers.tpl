{{- define "stategraph.labels" -}}
app.kubernetes.io/part-of: stategraph
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Labels that select the pods of a component: (list . "server") */ -}}
{{- define "stategraph.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Release.Name }}-{{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end }}

{{- define "stategraph.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Variables of servers and workers: addresses and tokens by reference alone. */ -}}
{{- define "stategraph.environment" -}}
- name: STATEGRAPH_RUNTIME
  value: "1"
- name: OTEL_METRICS_EXPORTER
  value: prometheus
- name: STATEGRAPH_STORE
  valueFrom:
    secretKeyRef: {name: {{ .Values.database.secretName | quote }}, key: {{ .Values.database.secretKey | quote }}}
{{- if .Values.nats.secretName }}
- name: STATEGRAPH_NATS
  valueFrom:
    secretKeyRef: {name: {{ .Values.nats.secretName | quote }}, key: {{ .Values.nats.secretKey | quote }}}
{{- end }}
{{- range $name, $value := .Values.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "stategraph.environmentFrom" -}}
{{- if .Values.environmentSecret }}
envFrom:
  - secretRef: {name: {{ .Values.environmentSecret | quote }}}
{{- end }}
{{- end }}

{{- define "stategraph.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "stategraph.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "stategraph.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.program.files }}
- name: program
  mountPath: /app
  readOnly: true
{{- end }}
{{- end }}

{{- define "stategraph.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- if .Values.program.files }}
- name: program
  configMap: {name: {{ .Release.Name }}-program}
{{- end }}
{{- end }}

{{- /* Spread over nodes and zones: (list . "server") */ -}}
{{- define "stategraph.spread" -}}
{{- $arguments := . -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "stategraph.selector" $arguments | nindent 6 }}
{{- end }}
{{- end }}
